"""What users who are held out of fitting say of a user model, and how far it settles for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.training import Trainer
from models.user_model import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from models.training import Examples, ItemTable, TrainingConfig
    from models.user_model import UserModel

SHARES = tuple(tenth / 10 for tenth in range(11))  # of the way from start to end


@torch.no_grad()
def validation_loss(
    model: UserModel,
    batches: Sequence[Examples],
    items: dict[int, ItemTable],
    config: TrainingConfig,
) -> float | None:
    """The loss of training over held-out users, with the same draws each time; None of nobody.

    Nothing is dropped, and groups are hidden as in training, so that curves can be laid beside one
    another. Model, examples and items lie on one device.
    """
    judge = Trainer(model, model, config.model_copy(update={"precision": "float32"}), steps=1)
    model.eval()
    losses = [float(judge.loss(batch, items[batch.fold])) for batch in batches]
    lengths = [len(batch) for batch in batches]
    return float(np.average(losses, weights=lengths)) if batches else None


@torch.no_grad()
def held_out_aucs(
    model: UserModel, batches: Sequence[Examples], items: dict[int, ItemTable], seed: int
) -> np.ndarray:
    """How often each example's next plays score above items drawn by popularity, (examples,)."""
    model.eval()
    rng = np.random.default_rng(seed)
    found: list[float] = []
    for batch in batches:
        table = items[batch.fold]
        drawn = table.draw(1000, rng)
        users = model.users(batch.features, batch.present)  # (B, size)
        other = (users @ model.items(table.known[drawn]).T).numpy()  # (B, 1000)
        for row, own in enumerate(batch.targets):
            liked = (model.items(table.known[own]) @ users[row]).numpy()
            rest = np.sort(other[row][~np.isin(drawn, own)])
            below = np.searchsorted(rest, liked, "left") + np.searchsorted(rest, liked, "right")
            found.append(float(below.mean() / 2 / max(len(rest), 1)))
    return np.array(found)


@torch.no_grad()
def held_out_users(model: UserModel, batches: Sequence[Examples]) -> np.ndarray:
    """Their vectors, (examples, size) float32."""
    model.eval()
    found = [model.users(batch.features, batch.present) for batch in batches]
    return torch.cat(found).numpy() if found else np.zeros((0, SIZE), np.float32)


@torch.no_grad()
def settle(
    model: UserModel, start: Mapping[str, Tensor], aucs: Callable[[], np.ndarray]
) -> dict[str, Any]:
    """Move the model back on the line to where its training began, as far as nobody is worse off.

    Users who were held out of fitting say how far. Interpolated weights hold better than the end
    of training when the world moves on (Wortsman et al., Robust fine-tuning of zero-shot models,
    CVPR 2022); here they halve the variance of what is gained over the average of item vectors, at
    nearly the same mean (docs/quality.md).

    Args:
        model: as training left it; its weights are changed in place.
        start: its parameters before training.
        aucs: scores the model as it is now, one number per held-out user.

    Returns:
        ``share``, how much of the way was kept, and ``line``, the mean AUC at every tenth of it.
    """
    end = {name: value.clone() for name, value in model.named_parameters()}

    def go(share: float) -> None:
        for name, value in model.named_parameters():
            value.copy_(torch.lerp(start[name], end[name], share))

    scores = []
    for share in SHARES:
        go(share)
        scores.append(aucs())
    kept = SHARES[first_as_good(np.stack(scores))]
    go(kept)
    return {"share": kept, "line": [float(score.mean()) for score in scores if len(score)]}


def first_as_good(scores: np.ndarray) -> int:
    """The first candidate within one standard error of the best (Breiman et al., CART, 1984).

    Args:
        scores: (candidates, users); the error is that of a candidate's difference to the best.

    Returns:
        its row; the first where there are no users to tell by.
    """
    users = scores.shape[1]
    if not users:
        return 0
    behind = scores[scores.mean(axis=1).argmax()] - scores  # (candidates, users)
    error = behind.std(axis=1) / users**0.5
    return int((behind.mean(axis=1) <= error).argmax())
