"""What stands in for onboarding picks where nobody was asked: favourite creators of other plays.

Data sets of plays seldom tell what people picked when they came. Whoever uses this takes plays that
are hidden otherwise, neither history nor what is to be foretold; so no pick holds an answer.
"""

from __future__ import annotations

import numpy as np

from models.ranks import first_of_each

FAVOURITES = 3  # creators


def favourites(owner: np.ndarray, creator: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most played creators of each owner; of equals those with the lower index.

    Args:
        owner: (N,) int64 at least 0, whose play each is.
        creator: (N,) int64, -1 where unknown.

    Returns:
        owner, ascending, and creator, (P,) int64 each.
    """
    known = creator >= 0
    width = int(creator.max(initial=0)) + 1
    cells, plays = np.unique(owner[known] * width + creator[known], return_counts=True)
    whose, column = np.divmod(cells, width)
    top = first_of_each(whose, FAVOURITES, -plays, column)
    return whose[top], column[top]
