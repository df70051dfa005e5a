"""How much of what exact search finds an index finds, and the fewest cells that find enough."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from lakehouse.ann import faiss, parts, products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.ann import Ann, IndexConfig, Parameters

FEW, MANY = 10, 100  # neighbours
EQUAL = 1e-6  # products that differ by less are as good as one another: rounding of float32
RERANKS = (1, 2, 4, 8, 16, 32, 64)
ERRORS = 2  # standard errors by which the searches that choose have to be above the target
FLATTENS = 0.002  # of recall, by twice the cells or candidates: the rest is lost in the codes


class Measured(BaseModel):
    """What an index finds, and how fast, beside exact search of the same rows.

    Speeds are of all searches given at once, on the same threads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int
    recall: dict[int, float]
    """Share of the nearest 10 and 100 that is found, and of as many as the target is for."""
    target: float
    target_at: int
    queries_per_second: dict[int, float]
    exact_queries_per_second: float
    """For the nearest 100."""
    threads: int

    @property
    def reached(self) -> bool:
        """Whether the recall is what was asked for."""
        return self.recall[self.target_at] >= self.target


@dataclass(frozen=True)
class Truth:
    """Queries, and what exact search finds for them.

    Attributes:
        vectors: (N, d), all of them, searched in parts.
        queries: (Q, d) float32.
        own: (Q,) the row that each query is, which does not count; None where they are not rows.
        products: (Q, count) float32, of the nearest rows, nearest first.
        seconds: that all queries took.
    """

    vectors: np.ndarray
    queries: np.ndarray
    own: np.ndarray | None
    products: np.ndarray
    seconds: float

    @classmethod
    def of(cls, vectors: np.ndarray, queries: np.ndarray, own: np.ndarray | None) -> Truth:
        """Search all rows for the nearest 100 of each query."""
        count = min(MANY + (own is not None), len(vectors))
        began = time.perf_counter()
        found = exact(vectors, queries, count)
        seconds = time.perf_counter() - began
        return cls(vectors, queries, own, _others(*found, own)[0], seconds)

    def half(self, which: int) -> Truth:
        """Every second query, from the first or from the second on."""
        every = slice(which, None, 2)
        own = None if self.own is None else self.own[every]
        return replace(self, queries=self.queries[every], own=own, products=self.products[every])

    def recall(self, ann: Ann, count: int) -> tuple[np.ndarray, float]:
        """The share of the nearest that an index finds, (Q,), and the seconds that it took.

        Of rows that are equally near any will do.
        """
        count = min(count, self.products.shape[1])
        began = time.perf_counter()
        found = ann.search(self.queries, count + (self.own is not None))
        seconds = time.perf_counter() - began
        if not count:
            return np.ones(len(self.queries)), seconds
        _, rows = _others(*found, self.own)
        near = products(self.vectors, self.queries, rows)
        hits = (near >= self.products[:, count - 1 : count] - EQUAL) & (rows >= 0)
        return hits.mean(axis=1), seconds


def _others(
    found: np.ndarray, rows: np.ndarray, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Both without each query's own row, or without the last where that was not found."""
    if own is None:
        return found, rows
    out = rows == own[:, None]
    out[:, -1] |= ~out.any(axis=1)
    shape = (len(rows), rows.shape[1] - 1)
    return found[~out].reshape(shape), rows[~out].reshape(shape)


def exact(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows by comparing with all of them, a part at a time, nearest first.

    Args:
        vectors: (N, d) float32 or float16, N at least count.
        queries: (Q, d) float32.
        count: of each.

    Returns:
        (Q, count) float32 inner products and (Q, count) int64 rows.
    """
    library = faiss()
    best: np.ndarray = np.empty((len(queries), 0), np.float32)
    rows: np.ndarray = np.empty((len(queries), 0), np.int64)
    for first, part in parts(vectors):
        near = library.knn(
            queries, part, min(count, len(part)), metric=library.METRIC_INNER_PRODUCT
        )
        both = np.concatenate([best, near[0]], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(both, order, 1)
        rows = np.take_along_axis(np.concatenate([rows, near[1] + first], axis=1), order, 1)
    return best, rows


def drawn(rows: int, config: IndexConfig) -> np.ndarray:
    """The rows that are searched for, half of them to choose with: (2 * queries,) at most."""
    rng = np.random.default_rng([config.seed, 1])
    return rng.permutation(rows)[: 2 * config.queries]


def measure(
    ann: Ann, config: IndexConfig, truth: Truth, target: float, at: int = FEW
) -> tuple[Ann, Measured]:
    """Choose how an index is searched, and measure that on other queries.

    Args:
        ann: made, and not yet chosen how to search it.
        config: what of that is not open.
        truth: of its rows and of queries, the halves of which choose and measure.
        target: recall to be reached, if it can be.
        at: of how many nearest, 100 at most.
    """
    ann = chosen(ann, config, truth.half(0), target, at)
    told = truth.half(1 if len(truth.queries) > 1 else 0)
    by_count = {count: told.recall(ann, count) for count in sorted({FEW, at, MANY})}
    asked = len(told.queries)
    return ann, Measured(
        queries=asked,
        recall={count: float(shares.mean()) for count, (shares, _) in by_count.items()},
        target=target,
        target_at=at,
        queries_per_second={count: asked / took for count, (_, took) in by_count.items()},
        exact_queries_per_second=len(truth.queries) / truth.seconds,
        threads=faiss().omp_get_max_threads(),
    )


def chosen(ann: Ann, config: IndexConfig, truth: Truth, target: float, at: int = FEW) -> Ann:
    """The index searched with the fewest cells that reach the target, then the fewest candidates.

    Where none do, with the fewest that find hardly less than can be found.
    """
    reranks = _reranks(ann.parameters, config)
    most = ann.parameters.model_copy(update={"rerank": reranks[-1]})
    ways = [most.model_copy(update={"nprobe": n}) for n in _probes(ann.parameters, config)]
    best = _first(ann, ways, truth, target, at)
    ways = [best.parameters.model_copy(update={"rerank": rerank}) for rerank in reranks]
    return _first(ann, ways, truth, target, at)


def _first(ann: Ann, ways: Sequence[Parameters], truth: Truth, target: float, at: int) -> Ann:
    """The index searched in the first way that reaches the target, or hardly less than any does."""
    best, most = ann, -1.0
    for way in ways:
        tried = replace(ann, parameters=way)
        shares, _ = truth.recall(tried, at)
        found = float(shares.mean())
        if found - ERRORS * float(shares.std()) / len(shares) ** 0.5 >= target:
            return tried
        if way.kind == "ivf_pq" and found - most < FLATTENS:
            break
        best, most = (tried, found) if found > most else (best, most)
    return best


def _reranks(parameters: Parameters, config: IndexConfig) -> tuple[int, ...]:
    open_to_choice = parameters.kind == "ivf_pq" and config.rerank is None
    return RERANKS if open_to_choice else (parameters.rerank,)


def _probes(parameters: Parameters, config: IndexConfig) -> list[int | None]:
    cells = parameters.nlist
    if cells is None or config.nprobe is not None:
        return [parameters.nprobe]
    return [*(2**power for power in range(cells.bit_length()) if 2**power < cells), cells]
