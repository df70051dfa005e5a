"""Item vectors sharpened on what users play together: from some of it, tell the rest.

A *context* is everything that one user played. A few of its plays, drawn at random, make a query:
the mean of their unit vectors. Other plays of the same context must be nearer to it than items
drawn by popularity::

    loss = -log( e^(q·v⁺/τ) / (e^(q·v⁺/τ) + Σ_j e^(q·v_j/τ)) )

with logits corrected by the logarithm of how often each item is drawn (sampled softmax; Bengio and
Senécal, IEEE Trans. Neural Networks 2008). That is how the vectors are read later, by means and
cosines, and it is why this beats factorising counts (docs/quality.md).

An item's vector is where factorisation put it, plus an offset of its own, plus one that it shares
with all items of its creator. Contexts lie in *shards* that are trained at the same time and
averaged from time to time, each row weighted by how often a shard has met it (local SGD; Stich,
ICLR 2019). Work grows with the number of items, not of plays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional as F

from models.features import unit

if TYPE_CHECKING:
    from collections.abc import Iterable

EPSILON = 1e-4  # below what is learned from: else a last digit at the start would turn a row about
NEVER_MET = 1e-3  # plays that a row counts for in a shard that met it among the negatives at most


class ContextTrainingConfig(BaseModel):
    """How vectors are sharpened; the defaults are those of docs/quality.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    samples_per_item: float = Field(default=400.0, ge=0)
    """Plays to foretell in training, for each item that was played; 0 leaves the vectors alone."""
    samples_per_play: float = Field(default=40.0, ge=0)
    """Times that a play is foretold at most, where items were played a few times each."""
    temperature: float = Field(default=0.05, gt=0)
    """Cosines are divided by it: the lower, the more the nearest of the others count."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Adagrad's, per row, at the beginning; it falls to zero on a straight line."""
    inputs: int = Field(default=5, ge=1)
    """Plays that make a query."""
    targets: int = Field(default=8, ge=1)
    """Plays to foretell from a query."""
    negatives: int = Field(default=2048, ge=1)
    """Other items, shared by the queries of a step."""
    queries: int = Field(default=512, ge=1)
    """Queries in a step."""
    evenness: float = Field(default=0.75, ge=0, le=1)
    """Power of a context's plays by which it is drawn: 0 makes all users equal, 1 all plays."""
    most_plays: int = Field(default=1_000, ge=2)
    """Plays beyond which a context is drawn no more often, so that no bot shapes the space."""
    negative_power: float = Field(default=0.75, ge=0, le=1)
    """Power of an item's plays by which it is drawn as a negative."""
    steps_per_shard: int = Field(default=1_500, ge=1)
    """Steps for which another shard is made: more would average over too little training."""
    rounds: int = Field(default=10, ge=1)
    """Times that the shards are averaged."""
    kept: float = Field(default=0.9, ge=0, le=1)
    """Share of what was learned in the result; the rest is where factorisation put the item."""

    def steps(self, items: int, plays: int) -> int:
        """Steps in all, for so many items that were played, and so many plays."""
        samples = min(self.samples_per_item * items, self.samples_per_play * plays)
        return round(samples / (self.queries * self.targets))

    def shards(self, steps: int) -> int:
        """Shards for so many steps."""
        return max(1, round(steps / self.steps_per_shard))


@dataclass(frozen=True)
class Contexts:
    """The plays of some users, one after the other.

    Attributes:
        items: (P,) int64, each play's item.
        lengths: (C,) int64, plays of each context.
    """

    items: np.ndarray
    lengths: np.ndarray

    def longer_than_one(self) -> Contexts:
        """Without contexts that have nothing to tell from."""
        kept = self.lengths > 1
        return Contexts(self.items[np.repeat(kept, self.lengths)], self.lengths[kept])


@dataclass(frozen=True)
class ItemModel:
    """Where factorisation put each item, and the offsets learned so far.

    Attributes:
        start: (N, d) float32 unit vectors.
        creator: (N,) int64, dense index of each item's creator, -1 where unknown.
        learned: (N + creators + 1, d + 1) float32: offsets of items, of creators, and one row of
            zeros for the creators that are unknown; the last column is Adagrad's sum of squares.
    """

    start: np.ndarray
    creator: np.ndarray
    learned: np.ndarray

    @classmethod
    def at(cls, start: np.ndarray, creator: np.ndarray) -> ItemModel:
        """A model that has learned nothing yet."""
        rows = len(start) + int(creator.max(initial=-1)) + 2
        return cls(start, creator, np.zeros((rows, start.shape[1] + 1), np.float32))

    def vectors(self, kept: float = 1.0) -> np.ndarray:
        """The items' unit vectors, (N, d) float32, with that share of what was learned."""
        offsets = self.learned[:, :-1]
        moved = unit(self.start + offsets[: len(self.start)] + offsets[self.creator_rows])
        return unit(kept * moved + (1 - kept) * self.start)

    @property
    def creator_rows(self) -> np.ndarray:
        """The row of each item's creator in ``learned``, (N,) int64."""
        last = len(self.learned) - 1
        return np.where(self.creator >= 0, len(self.start) + self.creator, last)


@dataclass(frozen=True)
class Draw:
    """What one step looks at.

    Attributes:
        items: inputs, targets and negatives, one after the other, int64.
        queries, inputs, targets: how many queries there are, and plays of each kind in one.
    """

    items: np.ndarray
    queries: int
    inputs: int
    targets: int

    @property
    def positives(self) -> np.ndarray:
        """Items of inputs and targets."""
        return self.items[: self.queries * (self.inputs + self.targets)]

    def split(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One value per item drawn as (B, inputs), (B, targets) and (negatives,)."""
        first = self.queries * self.inputs
        second = first + self.queries * self.targets
        return (
            values[:first].reshape(self.queries, self.inputs),
            values[first:second].reshape(self.queries, self.targets),
            values[second:],
        )


class Sampler:
    """Draws queries, what they should find, and what they should not.

    Args:
        contexts: of one shard; each has two plays at least.
        items: number of items.
        config: how to draw.
        rng: the source of chance.
    """

    def __init__(
        self,
        contexts: Contexts,
        items: int,
        config: ContextTrainingConfig,
        rng: np.random.Generator,
    ) -> None:
        self._contexts, self._config, self._rng = contexts, config, rng
        self._first = np.cumsum(contexts.lengths) - contexts.lengths
        drawn = np.minimum(contexts.lengths, config.most_plays) ** config.evenness
        self._context = np.cumsum(drawn / drawn.sum())
        plays = np.repeat(drawn / contexts.lengths, contexts.lengths)
        chance = np.bincount(contexts.items, plays, items) ** config.negative_power
        chance /= chance.sum()
        self._negative = np.cumsum(chance)
        with np.errstate(divide="ignore"):  # items of other shards are never drawn
            expected = np.maximum(np.log(chance * config.negatives), np.log(1e-12))
        self.log_expected = torch.from_numpy(expected.astype(np.float32))

    def draw(self) -> Draw:
        """Queries and targets from some contexts, and items by popularity."""
        config = self._config
        chosen = self._chosen(self._context, config.queries)
        first, length = self._first[chosen], self._contexts.lengths[chosen]

        def plays(each: int) -> np.ndarray:
            place = self._rng.random((config.queries, each)) * length[:, None]
            return self._contexts.items[first[:, None] + place.astype(np.int64)].ravel()

        inputs, targets = plays(config.inputs), plays(config.targets)
        negatives = self._chosen(self._negative, config.negatives)
        items = np.concatenate([inputs, targets, negatives])
        return Draw(items, config.queries, config.inputs, config.targets)

    def _chosen(self, cumulated: np.ndarray, count: int) -> np.ndarray:
        drawn = np.searchsorted(cumulated, self._rng.random(count), side="right")
        return np.minimum(drawn, len(cumulated) - 1)


def train(
    model: ItemModel,
    contexts: Contexts,
    rates: np.ndarray,
    config: ContextTrainingConfig,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on one shard.

    Args:
        model: where to begin.
        contexts: the shard's.
        rates: (steps,) learning rate of each step.
        config: how.
        rng: the source of chance; the same one gives the same result on one thread.

    Returns:
        ``learned`` as it is now, and how often each of its rows was met (rows,) float32.
    """
    contexts = contexts.longer_than_one()
    learned = torch.from_numpy(model.learned.copy())
    met = np.full(len(model.learned), NEVER_MET, np.float32)
    if not len(contexts.lengths):
        return learned.numpy(), met
    sampler = Sampler(contexts, len(model.start), config, rng)
    start, creator_rows = torch.from_numpy(model.start), model.creator_rows
    for rate in rates:
        draw = sampler.draw()
        items, place = np.unique(draw.items, return_inverse=True)
        owners, owner = np.unique(creator_rows[items], return_inverse=True)
        offsets = learned[items, :-1].requires_grad_()  # (I, d)
        shared = learned[owners, :-1].requires_grad_()
        vectors = F.normalize(start[items] + offsets + shared[owner], dim=1)  # (I, d)
        _loss(vectors, place, draw, sampler.log_expected, config).backward()
        _adagrad(learned, items, offsets, float(rate))
        _adagrad(learned, owners, shared, float(rate))
        learned[-1] = 0.0  # creators that are unknown have nothing in common
        met += np.bincount(draw.positives, minlength=len(met))
        met += np.bincount(creator_rows[draw.positives], minlength=len(met))
    return learned.numpy(), met


def _loss(
    vectors: torch.Tensor,
    place: np.ndarray,
    draw: Draw,
    log_expected: torch.Tensor,
    config: ContextTrainingConfig,
) -> torch.Tensor:
    """The sampled softmax's loss, the mean over queries and targets.

    Args:
        vectors: (I, d) unit vectors of every item of this step.
        place: (draw.items,) row in ``vectors`` of each item drawn.
        draw: what was drawn.
        log_expected: (N,) logarithm of how often each item is expected among the negatives.
        config: temperature and sizes.
    """
    inputs, targets, negatives = (torch.from_numpy(part) for part in draw.split(place))
    input_items, target_items, negative_items = draw.split(draw.items)
    query = F.normalize(F.embedding_bag(inputs, vectors, mode="sum"), dim=1)  # (B, d)
    query = query / config.temperature
    near = torch.einsum("btd,bd->bt", vectors[targets], query)
    near = near - log_expected[torch.from_numpy(target_items)]  # (B, targets)
    by_chance = log_expected[torch.from_numpy(negative_items)]
    far = torch.addmm(-by_chance, query, vectors[negatives].T)  # (B, negatives)
    others = torch.logsumexp(far, dim=1)
    # What is among the inputs would be found for nothing.
    counts = torch.from_numpy((target_items[:, :, None] != input_items[:, None]).all(axis=2))
    loss = F.softplus(others[:, None] - near) * counts
    return loss.sum() / counts.sum().clamp(min=1)


def _adagrad(learned: torch.Tensor, rows: np.ndarray, values: torch.Tensor, rate: float) -> None:
    """One step of Adagrad with one sum of squares per row; writes the rows of ``learned``."""
    slope = values.grad
    if slope is None:
        return
    squares = learned[rows, -1] + slope.square().mean(dim=1)
    step = rate * slope / (squares.sqrt() + EPSILON)[:, None]
    learned[rows] = torch.column_stack([values.detach() - step, squares])


def average(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The mean of what shards have learned, (rows, d + 1) float32.

    Args:
        parts: for each shard some rows of ``learned``, and how often each was met; in the same
            order the result is the same, bit for bit.
    """
    total, weights = None, None
    for learned, met in parts:
        share = learned.astype(np.float64) * met[:, None]
        total = share if total is None else total + share
        weights = met.astype(np.float64) if weights is None else weights + met
    if total is None or weights is None:
        raise ValueError("there is nothing to average")
    return (total / weights[:, None]).astype(np.float32)
