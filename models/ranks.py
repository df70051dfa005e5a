"""The first few of each owner, by any order."""

from __future__ import annotations

import numpy as np


def first_of_each(owner: np.ndarray, most: int, *keys: np.ndarray) -> np.ndarray:
    """Rows of each owner's first entries, by owner and then by the keys, (P,) int64.

    Args:
        owner: (N,) int64.
        most: how many of each.
        keys: (N,) each, the first counts before the second; equal rows stay in their order.
    """
    order = np.lexsort((*keys[::-1], owner))
    ordered = owner[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < most]
