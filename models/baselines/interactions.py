"""Who played what and when, and what is known of users and items: all that a baseline may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Interactions:
    """Plays of known users and items, by their row numbers.

    Attributes:
        user: (P,) int64, ascending.
        item: (P,) int64, in order of time within a user.
        at: (P,) int64, microseconds since 1970.
        users: how many there are, also those who have played nothing.
        items: how many there are, also those that nobody has played.
        user_tags: (users, G) float32 of 0 and 1: country, language, age band; G may be 0.
        item_tags: (items, T) float32 of 0 and 1: creator, genres; T may be 0.
    """

    user: np.ndarray
    item: np.ndarray
    at: np.ndarray
    users: int
    items: int
    user_tags: sparse.csr_array
    item_tags: sparse.csr_array

    def __post_init__(self) -> None:
        faults = [fault for fault, found in self._faults().items() if found]
        if faults:
            raise ValueError(f"these plays cannot be learned from: {'; '.join(faults)}")

    def counts(self) -> sparse.csr_array:
        """How often each user played each item, (users, items) float32."""
        cells = (np.ones(len(self.user), np.float32), (self.user, self.item))
        return sparse.csr_array(cells, shape=(self.users, self.items))  # adds up what repeats

    def silent(self) -> np.ndarray:
        """Who has played nothing, (users,) bool."""
        return np.bincount(self.user, minlength=self.users) == 0

    def _faults(self) -> dict[str, bool]:
        return {
            "user, item and at differ in length": not (
                len(self.user) == len(self.item) == len(self.at)
            ),
            "users do not ascend": bool((np.diff(self.user) < 0).any()),
            f"a user is not in 0..{self.users - 1}": _outside(self.user, self.users),
            f"an item is not in 0..{self.items - 1}": _outside(self.item, self.items),
            "user_tags has not one row for each user": self.user_tags.shape[0] != self.users,
            "item_tags has not one row for each item": self.item_tags.shape[0] != self.items,
        }


class Representation(NamedTuple):
    """A vector for each user and item; a user's dot products with items rank them.

    Attributes:
        users: (users, size) float32.
        items: (items, size) float32.
    """

    users: np.ndarray
    items: np.ndarray


def _outside(row: np.ndarray, rows: int) -> bool:
    return bool(len(row)) and not 0 <= row.min() <= row.max() < rows
