"""Metrics that say how far apart two systems are, and how sure one can be."""

from __future__ import annotations

import numpy as np


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
    """Places of the highest scores, highest first, int64; of -inf there is none.

    Args:
        scores: (N,).
        most: how many.
    """
    most = min(most, len(scores))
    near = np.argpartition(-scores, most - 1)[:most]
    near = near[np.isfinite(scores[near])]  # a small catalogue ends with what is left out
    return near[np.argsort(-scores[near], kind="stable")]


def bootstrap_interval(
    values: np.ndarray, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron, 1979).

    Args:
        values: (N,) one number per user.
        seed: of the resampling.
        resamples: how many.
        level: share of the resampled means within.
    """
    rng = np.random.default_rng(seed)
    means = np.array(
        [values[rng.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
