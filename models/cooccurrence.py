"""Who is played near whom: pairs of neighbouring plays, counted in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PLAY = 1_000  # what a whole play beside another counts: sums of integers are exact in any order
BITS = 30  # of an item's place among the items of a line
FOLD_BITS = 3


@dataclass(frozen=True)
class Counting:
    """What counts as played together.

    Attributes:
        gap_minutes: a silence that ends a session; None where a whole history is one.
        window: places before and after a play that are near it.
        fading: power of the distance, in places, by which a pair's count is divided.
        most_a_day: plays of a user and a day beyond which no more are looked at.
    """

    gap_minutes: float | None
    window: int
    fading: float
    most_a_day: int


@dataclass(frozen=True)
class Line:
    """Plays in order, by user and then by time; all arrays (P,).

    Attributes:
        user: int64, any number that is one user's.
        fold: int64, the user's fold.
        item: int64, any number that is one item's.
        at: int64, microseconds.
        weight: float64, how much the play counts.
        counts: bool, whether its pairs with earlier plays are to be counted.
    """

    user: np.ndarray
    fold: np.ndarray
    item: np.ndarray
    at: np.ndarray
    weight: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def last(self, plays: int) -> Line:
        """The end of the line."""
        return Line(*(values[max(len(self) - plays, 0) :] for values in self._columns()))

    def then(self, other: Line) -> Line:
        """This line and another behind it."""
        pairs = zip(self._columns(), other._columns(), strict=True)
        return Line(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.user, self.fold, self.item, self.at, self.weight, self.counts


def nobody() -> Line:
    """A line without plays."""
    whole = np.zeros(0, np.int64)
    return Line(whole, whole, whole, whole, np.zeros(0), np.zeros(0, bool))


@dataclass(frozen=True)
class Pairs:
    """Pairs of items, each once; all arrays (K,).

    Attributes:
        item: int64, the smaller of the two numbers.
        neighbour: int64, the larger.
        fold: int32.
        count: int64, in thousandths.
    """

    item: np.ndarray
    neighbour: np.ndarray
    fold: np.ndarray
    count: np.ndarray


def near_pairs(line: Line, new: int, gap: float, window: int, fading: float) -> Pairs:
    """Count pairs of different items within ``window`` places of each other in one session.

    A session of n plays has less than n times ``window`` pairs, never n².

    Args:
        line: plays, of which the first were counted before.
        new: pairs count whose later play is among so many at the end.
        gap: microseconds of silence that end a session.
        window: places.
        fading: power of the distance, in places, by which a pair's count is divided.
    """
    opens = np.r_[False, (np.diff(line.user) != 0) | (np.diff(line.at) > gap)]
    session = np.cumsum(opens[: len(line)])
    items, item = np.unique(line.item, return_inverse=True)
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for distance in range(1, min(window, len(line) - 1) + 1):
        later = np.arange(max(len(line) - new, distance), len(line))
        earlier = later - distance
        met = (session[later] == session[earlier]) & (item[later] != item[earlier])
        met &= line.counts[later]
        later, earlier = later[met], earlier[met]
        small = np.minimum(item[later], item[earlier])
        large = np.maximum(item[later], item[earlier])
        keys.append((small << (BITS + FOLD_BITS)) | (large << FOLD_BITS) | line.fold[later])
        weight = line.weight[later] * line.weight[earlier] / distance**fading
        counts.append(np.rint(weight * PLAY).astype(np.int64))
    unique, place = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(place, np.concatenate(counts), len(unique))  # exact below 2^53
    small, large = unique >> (BITS + FOLD_BITS), (unique >> FOLD_BITS) & ((1 << BITS) - 1)
    fold = (unique & ((1 << FOLD_BITS) - 1)).astype(np.int32)
    return Pairs(items[small], items[large], fold, total.astype(np.int64))
