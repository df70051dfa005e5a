"""Seeded generators, and draws from many discrete distributions at once."""

from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


class Stream(IntEnum):
    """What a generator's numbers are for; streams never share numbers."""

    CATALOGUE = 0
    TEXT = 1
    POPULATION = 2
    TRAITS = 3
    ONBOARDING = 4
    LISTENS = 5


def generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """Open the stream of one user or item: the same numbers on whatever worker asks.

    Args:
        seed: seed of the simulation.
        stream: what the numbers are for.
        index: the user's or the item's index.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream, index])))


def cumulative(weights: Floats) -> Floats:
    """Turn rows of weights into rows of cumulative probabilities.

    Args:
        weights: (..., K) float64, not negative, each row with a positive sum.

    Returns:
        (..., K) float64, the last column exactly 1.
    """
    summed = np.cumsum(weights, axis=-1)
    return np.asarray(summed / summed[..., -1:], dtype=np.float64)


def choose(probabilities: Floats, rows: Ints, uniform: Floats) -> Ints:
    """Draw one column from each named row.

    One search serves all the distributions: row r, lifted by r, covers [r, r + 1) of one sorted
    array, which is many times faster than a search per row.

    Args:
        probabilities: (R, K) float64 from `cumulative`.
        rows: (N,) int64, whose distribution each draw uses.
        uniform: (N,) float64 in [0, 1).

    Returns:
        (N,) int64 in [0, K).
    """
    count, columns = probabilities.shape
    lifted = (probabilities + np.arange(count)[:, None]).ravel()  # (R * K,)
    found = np.searchsorted(lifted, rows + uniform, side="right") - rows * columns
    return np.minimum(found, columns - 1)


def geometric(mean: Floats, uniform: Floats) -> Ints:
    """Draw whole numbers of at least 1 from geometric distributions.

    Args:
        mean: (N,) float64 above 1.
        uniform: (N,) float64 in [0, 1).

    Returns:
        (N,) int64.
    """
    return 1 + np.floor(np.log1p(-uniform) / np.log1p(-1 / mean)).astype(np.int64)
