"""Items that a user has not played, for methods that are told apart from plays what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.baselines.interactions import Interactions

REDRAWN = 4  # times that a played item is drawn anew; a user who plays nearly all keeps some


class Unplayed:
    """Draws items that users have not played.

    Args:
        plays: say who played what.
        power: of an item's plays in its chance to be drawn; 0 draws all items alike.
    """

    def __init__(self, plays: Interactions, power: float) -> None:
        self.items = plays.items
        popularity = np.bincount(plays.item, minlength=plays.items).astype(np.float64) ** power
        self.cumulative = np.cumsum(popularity / popularity.sum())
        self.played = np.unique(plays.user * plays.items + plays.item)  # pairs as one number

    def draw(self, user: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """An item for each user, and for the few with whom chance insisted on a played one, none.

        Args:
            user: (N,) int64.
            rng: source of chance.

        Returns:
            Places in ``user`` (n,) that got an item, and the items (n,) int64.
        """
        item = self._any(len(user), rng)
        wrong = np.flatnonzero(self._is_played(user, item))
        for _ in range(REDRAWN):
            item[wrong] = self._any(len(wrong), rng)
            wrong = wrong[self._is_played(user[wrong], item[wrong])]
        kept = np.delete(np.arange(len(user)), wrong)
        return kept, item[kept]

    def _any(self, count: int, rng: np.random.Generator) -> np.ndarray:
        drawn = np.searchsorted(self.cumulative, rng.random(count), side="right")
        return np.minimum(drawn, self.items - 1)  # the last sum may be a hair below 1

    def _is_played(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        pair = user * self.items + item
        place = np.minimum(np.searchsorted(self.played, pair), len(self.played) - 1)
        return self.played[place] == pair
