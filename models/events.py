"""What feature rows are made of: plays, profiles, and what is kept of a history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FULL_PLAY_MS = 30_000  # a play of half a minute counts whole, as streams are counted
SKIP_WEIGHT = 0.1  # of a play that ended at once
SECOND = 1_000_000  # all times are microseconds since 1970, exact in int64
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
DAYS_PER_YEAR = 365.2425
NEVER = -1  # in place of the time of a play


@dataclass(frozen=True)
class Events:
    """Plays, each of one query; all arrays (E,).

    Attributes:
        query: int64, row of the query that the play counts for.
        item: int64, row of the item in the vector matrix; -1 where it has no vector.
        creator: int64, dense index of the item's creator; -1 where unknown.
        at: int64 microseconds, when it was played, not after the query's moment.
        weight: float64, how much the play counts.
        kind, surface, device: int64, columns of those groups; -1 where unknown.
    """

    query: np.ndarray
    item: np.ndarray
    creator: np.ndarray
    at: np.ndarray
    weight: np.ndarray
    kind: np.ndarray
    surface: np.ndarray
    device: np.ndarray

    @property
    def hour(self) -> np.ndarray:
        """Hour of the day, UTC."""
        return hour_of(self.at)

    @property
    def weekday(self) -> np.ndarray:
        """Day of the week, 0 for Monday; 1970 began on a Thursday."""
        return (self.at // DAY + 3) % 7

    def take(self, chosen: np.ndarray, query: np.ndarray) -> Events:
        """Some of the plays, for other queries."""
        rest = ("item", "creator", "at", "weight", "kind", "surface", "device")
        return Events(query=query, **{name: getattr(self, name)[chosen] for name in rest})

    def in_order(self) -> Events:
        """The same plays, those of one query side by side."""
        if (np.diff(self.query) >= 0).all():
            return self
        order = np.argsort(self.query, kind="stable")
        return self.take(order, self.query[order])


@dataclass(frozen=True)
class Profiles:
    """What each query's user has told us.

    Attributes:
        country, language, subscription: (Q,) int64, columns of those groups; -1 where untold.
        age: (Q,) float64 years, NaN where untold.
        account_age: (Q,) float64 days since registration, NaN where unknown.
        pick_query: (P,) int64, ascending; whose onboarding pick each is.
        pick_item, pick_creator: (P,) int64, what was picked; -1 where it is of the other kind.
    """

    country: np.ndarray
    language: np.ndarray
    subscription: np.ndarray
    age: np.ndarray
    account_age: np.ndarray
    pick_query: np.ndarray
    pick_item: np.ndarray
    pick_creator: np.ndarray


@dataclass(frozen=True)
class Histories:
    """What has to be kept of each query's plays to bring its row to a later moment, exactly.

    Attributes:
        first, last: (Q,) int64 microseconds, the first and the last play; NEVER without any.
        plays: (Q, half-lives) float64, weighted plays, each halved by its age at the last one.
    """

    first: np.ndarray
    last: np.ndarray
    plays: np.ndarray


class Rows(NamedTuple):
    """Feature rows.

    Attributes:
        features: (Q, layout.width) float32.
        present: (Q, groups) float32 of 0 and 1.
        histories: of the same queries.
    """

    features: np.ndarray
    present: np.ndarray
    histories: Histories


def hour_of(at: np.ndarray) -> np.ndarray:
    """Hour of the day, UTC, of times in microseconds."""
    return at // HOUR % 24


def play_weight(ms_played: np.ndarray) -> np.ndarray:
    """How much a play counts: 1 from half a minute on or where nobody measured, less for a skip.

    Args:
        ms_played: (E,) float64, NaN where unknown.

    Returns:
        (E,) float64 in [SKIP_WEIGHT, 1].
    """
    return np.where(np.isnan(ms_played), 1.0, np.clip(ms_played / FULL_PLAY_MS, SKIP_WEIGHT, 1.0))
