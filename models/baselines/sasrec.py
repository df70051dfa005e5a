"""SASRec: the next item, from the last hundred, by self-attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from models.baselines.baseline import Baseline
from models.baselines.interactions import Representation
from models.baselines.seeding import seeded

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from models.baselines.interactions import Interactions
    from models.baselines.sasrec_network import SASRecNetwork

AT_A_TIME = 256  # users whose last states are computed together


class Sequences(NamedTuple):
    """Histories in pieces.

    Attributes:
        item: (S, length) int64, padded behind with 0.
        length: (S,) items of each.
        user: (S,) whose they are.
    """

    item: np.ndarray
    length: np.ndarray
    user: np.ndarray


class SASRec(Baseline):
    """SASRec in PyTorch, with sampled softmax in place of one negative for each play.

    That loss makes the old model as good as what came after it (Klenitskiy and Vasilev, RecSys
    2023; Tikhonovich et al., arXiv 2508.06450). All positions of a batch share their negatives,
    half drawn alike from all items, half from the batch's own targets; each counts 1 / (how often
    it is expected to be drawn), so that the sum over them is the softmax' own on average.

    A user is the state after his last play, an item its vector, which is the same at the entry.
    """

    title: ClassVar[str] = "SASRec"
    paper: ClassVar[str] = "Kang and McAuley, ICDM 2018"

    length: int = Field(100, gt=1)
    """Plays that a state sees; longer histories are learned from in pieces."""
    blocks: int = Field(2, gt=0)
    """Of the transformer."""
    heads: int = Field(2, gt=0)
    """Of its attention."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of what is dropped in training."""
    negatives: int = Field(512, gt=1)
    """Negatives of a batch."""
    epochs: int = Field(8, gt=0)
    """Passes over all plays."""
    batch: int = Field(1024, gt=0)
    """Plays of a step, in whole pieces of histories."""
    learning_rate: float = Field(1e-3, gt=0)
    """Highest step of Adam; it rises over the first tenth, and falls to nothing."""
    item_learning_rate: float = Field(1e-2, gt=0)
    """The same for item vectors: most items are met in few steps, and have as far to go."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {
            "blocks": (1, 2),
            "dropout": (0.1, 0.2, 0.4),
            "batch": (512, 1024, 2048),
            "epochs": (4, 8, 12),
            "learning_rate": (5e-4, 1e-3, 2e-3),
            "item_learning_rate": (1e-3, 3e-3, 1e-2, 3e-2),
        }

    @model_validator(mode="after")
    def _heads_divide_size(self) -> Self:
        if self.size % self.heads:
            raise ValueError(f"size {self.size} is not a multiple of heads {self.heads}")
        return self

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Train, and take every user's last state."""
        from models.baselines.sasrec_network import SASRecNetwork

        pieces = sequences(plays, self.length)
        with seeded(seed):
            network = SASRecNetwork(
                plays.items,
                self.size,
                self.length,
                blocks=self.blocks,
                heads=self.heads,
                dropout=self.dropout,
            )
            self.train(network, pieces, np.random.default_rng(seed))
        users = np.zeros((plays.users, self.size), np.float32)
        last = np.flatnonzero(np.diff(pieces.user, append=-1))  # each user's last piece
        users[pieces.user[last]] = last_states(network, pieces, last)
        return Representation(users, network.item.weight.detach().numpy())

    def train(self, network: SASRecNetwork, pieces: Sequences, rng: np.random.Generator) -> None:
        """Sampled softmax over all positions, the table of items by sparse Adam."""
        import torch

        table = [network.item.weight]
        rest = [p for name, p in network.named_parameters() if name != "item.weight"]
        optimizers = [torch.optim.SparseAdam(table), torch.optim.Adam(rest)]
        rates = [self.item_learning_rate, self.learning_rate]
        epochs = [batches(pieces.length, self.batch, rng) for _ in range(self.epochs)]
        steps, step = sum(map(len, epochs)), 0
        for epoch in epochs:
            for some in epoch:
                share = min((step + 1) / (0.1 * steps), (1 - step / steps) / 0.9)
                loss = self.loss(network, pieces.item[some], pieces.length[some], rng)
                for optimizer in optimizers:
                    optimizer.zero_grad()
                loss.backward()
                for optimizer, rate in zip(optimizers, rates, strict=True):
                    optimizer.param_groups[0]["lr"] = rate * share
                    optimizer.step()
                step += 1

    def loss(
        self,
        network: SASRecNetwork,
        item: np.ndarray,
        length: np.ndarray,
        rng: np.random.Generator,
    ) -> Tensor:
        """Cross-entropy of each next item among shared negatives."""
        import torch

        longest = length.max()
        known = torch.from_numpy(np.arange(1, longest) < length[:, None])  # (B, L - 1)
        items = torch.from_numpy(item[:, :longest])  # (B, L)
        states = network(items[:, :-1])[known]  # (N, size)
        target = items[:, 1:][known]  # (N,)
        drawn, expected = self.draw(target.numpy(), network.item.num_embeddings, rng)
        negative = torch.from_numpy(drawn)  # (negatives,)
        scores = states @ network.item(negative).T - torch.from_numpy(expected).log()
        scores = scores.masked_fill(target[:, None] == negative, -torch.inf)
        own = (states * network.item(target)).sum(dim=1, keepdim=True)  # (N, 1)
        return (torch.cat([own, scores], dim=1).logsumexp(dim=1) - own[:, 0]).mean()

    def draw(
        self, target: np.ndarray, items: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Negatives (n,), and how often each of them was to be expected (n,) float32."""
        half = self.negatives // 2
        drawn = np.concatenate([rng.integers(0, items, half), rng.choice(target, half)])
        in_batch = np.bincount(target, minlength=items)[drawn] / len(target)
        return drawn, (half * (1 / items + in_batch)).astype(np.float32)


def sequences(plays: Interactions, length: int) -> Sequences:
    """Histories cut into pieces of ``length`` from the end, so that the last is full."""
    ends = np.cumsum(np.bincount(plays.user, minlength=plays.users))
    behind = ends[plays.user] - 1 - np.arange(len(plays.user))  # plays that follow in the history
    fresh = np.diff(behind // length + plays.user * len(plays.user), prepend=-1) != 0
    begins = np.flatnonzero(fresh)
    counts = np.diff(begins, append=len(plays.user))
    piece = np.cumsum(fresh) - 1
    item = np.zeros((len(begins), length), np.int64)
    item[piece, np.arange(len(plays.user)) - begins[piece]] = plays.item
    return Sequences(item, counts, plays.user[begins])


def batches(length: np.ndarray, plays: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of pieces about alike in length, so many plays together, in random order.

    Pieces of one play have nothing to predict, and are left out.
    """
    rows = np.lexsort((rng.random(len(length)), length))[(length == 1).sum() :]
    before = np.cumsum(length[rows]) - length[rows]
    found = np.split(rows, np.flatnonzero(np.diff(before // plays)) + 1)
    return [found[place] for place in rng.permutation(len(found)) if len(rows)]


def last_states(network: SASRecNetwork, pieces: Sequences, rows: np.ndarray) -> np.ndarray:
    """States after the last item of some pieces, (n, size) float32."""
    import torch

    network.eval()
    found = []
    with torch.no_grad():
        for begin in range(0, len(rows), AT_A_TIME):
            some = rows[begin : begin + AT_A_TIME]
            states = network(torch.from_numpy(pieces.item[some]))  # (n, L, size)
            found.append(states[np.arange(len(some)), pieces.length[some] - 1].numpy())
    return np.concatenate(found)
