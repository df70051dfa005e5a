"""One step of fitting a user model. No Ray."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from models.user_model import UserModel, reconstruction_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from models.codebook import Codebook

FEWEST_STEPS = 20  # of a schedule: with ten its rise would take no step, and divide by zero


class TrainingConfig(BaseModel):
    """How a user model is fitted; of no interest once it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: int = 20
    """Passes in which every user is seen once on average."""
    batch_size: int = 128
    """Users per step, over all workers."""
    learning_rate: float = 1e-3
    """Highest rate of AdamW; it rises for a tenth of the steps and then falls to zero."""
    weight_decay: float = 1e-2
    """Of the corrections and decoders; mixture and metrics are free."""
    targets: int = 4
    """Items that a user played next, drawn for each step."""
    negatives: int = 256
    """Items drawn in proportion to popularity, shared by a step's users."""
    hide: float = 0.3
    """Chance that a known group is hidden in a step."""
    ranking: float = 5.0
    """Weight of the loss of the next plays against popular items."""
    reconstruction: float = 0.02
    """Weight of the decoders' loss; that of each group is about 1 for a guess."""
    accumulate: int = Field(default=1, ge=1)
    """Parts in which a worker computes its share of a step, where memory is short."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks in training; auto is bfloat16 on a GPU. Losses are float32 in any case."""
    patience: int = Field(default=20, ge=0)
    """Epochs without a better AUC of held-out users after which training stops; 0: it does not."""
    seed: int = 0
    """Seed of starts, hiding, targets and negatives."""


@dataclass(frozen=True)
class ItemTable:
    """The items as they would be without one fold of the users.

    Attributes:
        known: (items, ITEM_SIZE) float32, as a ``Codebook`` describes them.
        cumulative: (items,) float64, running sum of the items' shares of all plays.
    """

    known: Tensor
    cumulative: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, support: np.ndarray, codebook: Codebook) -> ItemTable:
        """Build the table from vectors and plays, (items,) each at least 0."""
        share = support / max(support.sum(), 1)
        matrix = torch.from_numpy(np.ascontiguousarray(vectors))
        return cls(codebook(matrix, torch.from_numpy(support)), np.cumsum(share))

    @property
    def played(self) -> np.ndarray:
        """Which items somebody in the other folds played, (items,) bool."""
        return np.diff(self.cumulative, prepend=0.0) > 0

    def to(self, device: torch.device) -> ItemTable:
        """The same table, what describes items on a device."""
        return replace(self, known=self.known.to(device))

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Items in proportion to popularity, (count,) int64."""
        drawn = np.searchsorted(self.cumulative, rng.random(count) * self.cumulative[-1])
        return np.minimum(drawn, len(self.cumulative) - 1)


@dataclass(frozen=True)
class Examples:
    """Some users of one fold.

    Attributes:
        features, present: as ``UserModel.forward`` takes them.
        targets: for each user the indices of items played next, at least one.
        fold: whose item table they use.
    """

    features: Tensor
    present: Tensor
    targets: Sequence[np.ndarray]
    fold: int

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Examples:
        """The same users, their features on a device."""
        return replace(self, features=self.features.to(device), present=self.present.to(device))

    def parts(self, count: int) -> list[Examples]:
        """Cut into so many parts of nearly equal length, in order, none of them empty."""
        bounds = np.linspace(0, len(self), min(count, len(self)) + 1).astype(int)
        return [
            replace(
                self,
                features=self.features[low:high],
                present=self.present[low:high],
                targets=self.targets[low:high],
            )
            for low, high in pairwise(bounds)
        ]


class Trainer:
    """Holds what is thrown away after training: optimiser, schedule, random numbers.

    ``models.training_state`` saves and restores it.

    Args:
        model: a ``UserModel``, or one wrapped for several workers.
        inner: the same model without its wrapping.
        config: how to train.
        steps: of the whole training.
        rank: of the worker; workers draw different targets.
    """

    def __init__(
        self, model: nn.Module, inner: UserModel, config: TrainingConfig, steps: int, rank: int = 0
    ) -> None:
        self.model, self.inner, self.config = model, inner, config
        self.rng = np.random.default_rng([config.seed, rank])
        self.device = inner.mix.device
        wanted = config.precision
        self.half = wanted == "bfloat16" or (wanted == "auto" and self.device.type == "cuda")
        self.steps = 0
        self.gradient_norm = 0.0  # of the last step, before it is cut to 1
        free = [
            inner.mix,
            inner.user_metric,
            inner.item_metric,
            inner.popularity,
            inner.log_scale,
        ]
        names = {id(parameter) for parameter in free}
        decayed = [p for p in inner.parameters() if id(p) not in names]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": free, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            config.learning_rate,
            total_steps=max(steps, FEWEST_STEPS),
            pct_start=0.1,
        )

    def step(self, examples: Examples, items: ItemTable) -> float:
        """Fit one batch; returns its loss."""
        self.model.train()
        self.optimizer.zero_grad()
        parts = examples.parts(self.config.accumulate)
        loss = 0.0
        for part in parts:
            with self._alone(part is not parts[-1]):
                share = self.loss(part, items) * (len(part) / len(examples))
                share.backward()
            loss += float(share.detach())
        norm = nn.utils.clip_grad_norm_(self.inner.parameters(), 1.0)
        self.gradient_norm = float(norm)
        self.optimizer.step()
        if self.schedule.last_epoch + 1 < self.schedule.total_steps:
            self.schedule.step()
        self.steps += 1
        return loss

    def _alone(self, alone: bool) -> AbstractContextManager[Any]:  # noqa: FBT001
        """Within it, gradients stay on this worker: only the last part of a step adds them up."""
        if alone and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def _encoded(self, features: Tensor, shown: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Users and items by the model, in its precision; float32 for the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            users, pooled = self.model(features, shown, items)
        return users.float(), pooled.float()

    def loss(self, examples: Examples, items: ItemTable) -> Tensor:
        """Next plays against popular items, pair by pair, and the groups reconstructed.

        The pairwise logistic loss (Rendle et al., BPR, UAI 2009) is averaged over all pairs.
        """
        chosen = np.stack([self._some(targets) for targets in examples.targets])  # (B, T)
        drawn = items.draw(self.config.negatives, self.rng)  # (N,)
        pool = torch.from_numpy(np.concatenate([chosen.ravel(), drawn]))
        shown = self._hide(examples.present)
        users, pooled = self._encoded(examples.features, shown, items.known[pool])
        scale = self.inner.log_scale.exp().clamp(max=100.0)
        targets = pooled[: chosen.size].view(*chosen.shape, -1)  # (B, T, size)
        liked = torch.einsum("bd,btd->bt", users, targets) * scale  # (B, T)
        other = users @ pooled[chosen.size :].T * scale  # (B, N)
        own = torch.from_numpy(_own(examples.targets, drawn)).to(self.device)  # (B, N)
        pairs = F.softplus(other[:, None, :] - liked[:, :, None]) * ~own[:, None, :]  # (B, T, N)
        ranking = pairs.sum() / ((~own).sum() * chosen.shape[1]).clamp(min=1)
        return self.config.ranking * ranking + self.config.reconstruction * self._reconstruction(
            users, examples
        )

    def _some(self, targets: np.ndarray) -> np.ndarray:
        return targets[self.rng.integers(0, len(targets), self.config.targets)]

    def _hide(self, present: Tensor) -> Tensor:
        drawn = torch.from_numpy(self.rng.random(tuple(present.shape)) >= self.config.hide)
        return present * drawn.to(self.device)

    def _reconstruction(self, users: Tensor, examples: Examples) -> Tensor:
        decoded = self.inner.decode(users)
        total = users.new_zeros(())
        for position, group in enumerate(self.inner.config.layout.groups):
            known = examples.present[:, position]
            values = examples.features[:, group.slice]
            loss = reconstruction_loss(group, decoded[group.name], values)
            total = total + (loss * known).sum() / known.sum().clamp(min=1)
        return total


def _own(targets: Sequence[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    """Which of the drawn items each user plays next, (B, N) bool: they are no negatives."""
    return np.stack([np.isin(drawn, own) for own in targets])
