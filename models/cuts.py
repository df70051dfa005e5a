"""Past moments of users: what was known then, and what came next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cuts:
    """Past moments of some users: row ``user`` of the profiles, and where in the plays.

    A cut's history is plays[start:at], its targets plays[at:stop]; all arrays (C,) int64.
    """

    user: np.ndarray
    start: np.ndarray
    at: np.ndarray
    stop: np.ndarray

    @property
    def history(self) -> tuple[np.ndarray, np.ndarray]:
        """Each cut's plays before it: the cut (E,) and the play (E,), int64."""
        return _ranges(self.start, self.at)

    @property
    def future(self) -> tuple[np.ndarray, np.ndarray]:
        """Each cut's targets: the cut (E,) and the play (E,), int64."""
        return _ranges(self.at, self.stop)

    def take(self, chosen: np.ndarray) -> Cuts:
        """Some of the cuts."""
        return Cuts(self.user[chosen], self.start[chosen], self.at[chosen], self.stop[chosen])


def _ranges(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers from low to high of each row, and the row of each."""
    length = high - low
    row = np.repeat(np.arange(len(length)), length)
    before = np.cumsum(length) - length
    return row, np.arange(length.sum()) + (low - before)[row]
