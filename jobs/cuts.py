"""Which past moments of users a model learns from."""

from __future__ import annotations

import numpy as np

from models.cuts import Cuts
from models.events import DAY, SECOND
from models.ranks import first_of_each

EARLY = 10  # plays in which somebody is new


def choose_cuts(user: np.ndarray, at: np.ndarray, gap: int, most: int, horizon_days: float) -> Cuts:
    """Moments to learn from: how users came, the beginnings of sessions, and some plays within.

    Args:
        user: (E,) int64, ascending; whose play each is.
        at: (E,) int64 microseconds, ascending within a user.
        gap: microseconds of silence that end a session.
        most: cuts at beginnings of sessions, and cuts at other plays, per user. Beside these are
            the first play, before which there is none, and one of the ten plays after it.
        horizon_days: days after the cut in which the targets lie.

    Returns:
        cuts in order, each once; the cut's own play is its first target.
    """
    plays = np.arange(len(user))
    first = np.r_[True, user[1:] != user[:-1]] if len(user) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, plays, 0)) if len(user) else plays
    begins = np.r_[False, np.diff(at) > gap] & ~first if len(user) else first
    # Of plays at one moment only the first can be a cut: its history lies before it in time.
    later = np.r_[False, np.diff(at) > 0] & ~first if len(user) else first
    drawn = ((begins, most), (later & ~begins, most), (later & (plays - start <= EARLY), 1))
    some = [_some(np.flatnonzero(among), user, at, count) for among, count in drawn]
    cut = np.unique(np.concatenate([np.flatnonzero(first), *some])).astype(np.int64)
    end = at[cut] + round(horizon_days * DAY)
    stop = _after(at, cut, np.searchsorted(user, user[cut], side="right"), end)
    return Cuts(user=user[cut], start=start[cut], at=cut, stop=stop)


def _some(plays: np.ndarray, user: np.ndarray, at: np.ndarray, most: int) -> np.ndarray:
    """At most so many plays of each user, drawn by hash, so that more plays move no others."""
    return plays[first_of_each(user[plays], most, _scatter(at[plays]))]


def _scatter(at: np.ndarray) -> np.ndarray:
    """A number that looks random and depends on nothing but the play."""
    mixed = (at // SECOND).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


def _after(at: np.ndarray, low: np.ndarray, high: np.ndarray, until: np.ndarray) -> np.ndarray:
    """For each row the first play of at[low:high] that is later than a moment, or high."""
    while (open_ := low < high).any():
        middle = (low + high) // 2
        right = open_ & (at[np.minimum(middle, len(at) - 1)] <= until)
        low, high = np.where(right, middle + 1, low), np.where(open_ & ~right, middle, high)
    return low
