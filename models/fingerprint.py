"""A number that tells whether a feature row is the same as before, without keeping the row."""

from __future__ import annotations

import numpy as np

ROWS_AT_ONCE = 1024  # what stays in a core's cache
GOLDEN = 0x9E3779B97F4A7C15


def fingerprints(features: np.ndarray, present: np.ndarray) -> np.ndarray:
    """A 64-bit sum of each row: equal rows have equal ones, others hardly ever.

    Every pair of numbers is mixed, so that two changes of sign do not cancel, multiplied by a
    constant of its own, and added up. It keeps no secret and stands no attack.

    Args:
        features: (N, d) float32.
        present: (N, groups) float32.

    Returns:
        (N,) int64.
    """
    width = features.shape[1] + present.shape[1]
    factors = _factors((width + 1) // 2)
    found = np.empty(len(features), np.uint64)
    for start in range(0, len(features), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = np.zeros((len(features[part]), 2 * len(factors)), np.float32)
        np.concatenate([features[part], present[part]], axis=1, out=rows[:, :width])
        words = rows.view(np.uint64)  # (n, len(factors))
        words ^= words >> np.uint64(32)
        found[part] = words @ factors
    return (found ^ (found >> np.uint64(31))).view(np.int64)


def _factors(count: int) -> np.ndarray:
    """Odd constants, (count,) uint64, the same everywhere: SplitMix64 (Steele et al., 2014)."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
