"""Metrics that say how far apart two systems are, and how sure one can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counting half.

    Args:
        positive: (P,) scores, P > 0.
        negative: (N,) scores, N > 0.
    """
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(ordered)))


def highest(scores: np.ndarray, most: int) -> np.ndarray:
    """Places of the highest scores, highest first, equals by place, int64; of -inf there is none.

    Args:
        scores: (N,).
        most: how many.
    """
    most = min(most, len(scores))
    bound = np.partition(scores, len(scores) - most)[len(scores) - most]
    above, level = np.flatnonzero(scores > bound), np.flatnonzero(scores == bound)
    near = np.concatenate([above, level[: most - len(above)]])
    near = near[np.isfinite(scores[near])]  # a small catalogue ends with what is left out
    return near[np.argsort(-scores[near], kind="stable")]


def ndcg(hits: np.ndarray, wanted: int) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002).

    Args:
        hits: (K,) bool, whether each place of the ranking was wanted.
        wanted: how many were.
    """
    discount = 1 / np.log2(np.arange(len(hits)) + 2)
    return float((hits * discount).sum() / discount[: min(wanted, len(hits))].sum())


def bootstrap_interval(
    values: np.ndarray,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
    of: Callable[[np.ndarray], float] = np.mean,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, or of another figure (Efron, 1979).

    Args:
        values: (N,) one number per user.
        seed: of the resampling.
        resamples: how many.
        level: share of the resampled figures within.
        of: the figure, from (N,) numbers.
    """
    rng = np.random.default_rng(seed)
    figures = [of(values[rng.integers(0, len(values), len(values))]) for _ in range(resamples)]
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
