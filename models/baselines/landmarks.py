"""Vectors for a method whose score of a user and an item is no dot product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from models.baselines.baseline import padded

if TYPE_CHECKING:
    from collections.abc import Callable

    Score = Callable[[np.ndarray, np.ndarray], np.ndarray]

RIDGE = 1e-3  # of the mean squared length of users' vectors


def from_landmarks(
    score: Score,
    some_users: np.ndarray,
    some_items: np.ndarray,
    size: int,
    *,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose dot products come near a method's scores, up to a constant for each user.

    The scores of everybody for some items are factorized, which gives users' vectors; every item's
    vector is the least-squares answer to its scores for some users. A constant for each user, which
    ranks nothing, is taken away first: the mean of his scores.

    Args:
        score: scores of users (m,) for items (n,), (m, n).
        some_users: (m,) rows of users, more than ``size``.
        some_items: (n,) rows of items, more than ``size``.
        size: numbers of a vector.
        shape: how many users and items there are.

    Returns:
        (users, size) and (items, size).
    """
    users, items = shape
    table = score(np.arange(users), some_items).astype(np.float64)  # (users, n)
    offset = table.mean(axis=1, keepdims=True)
    left, scale, _ = linalg.svd(table - offset, full_matrices=False, overwrite_a=True)
    vectors = padded((left * np.sqrt(scale))[:, :size], size)  # (users, size)
    asked = vectors[some_users]  # (m, size)
    gram = asked.T @ asked
    gram += (RIDGE * np.trace(gram) / size + np.finfo(np.float64).tiny) * np.eye(size)
    answers = score(some_users, np.arange(items)) - offset[some_users]  # (m, items)
    return vectors, linalg.solve(gram, asked.T @ answers, assume_a="pos").T
