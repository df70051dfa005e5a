"""What the plays of users add up to, and how sums of some plays and of others become one.

All but interests commute: plays may be added in any order, late ones too. Interests fade by plays,
so there one of two sums has to be of the later plays; what is kept of a user apart from his sums
(``models.user_state``) is long enough for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.events import DAY, NEVER, Histories
from models.layout import HALF_LIVES, LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

HISTORY = ("first", "last", "plays")
INTERESTS_HALF_LIFE = 50.0  # plays, which means the same to whoever plays much or little


def decay(age: np.ndarray, half_life: float) -> np.ndarray:
    """2^(-age / half_life), both in days, or both in plays."""
    return np.exp2(-age / half_life)


class Pairs(NamedTuple):
    """Weight by query and column, in that order, each pair once; all arrays (N,)."""

    query: np.ndarray
    column: np.ndarray
    weight: np.ndarray


class Sums(NamedTuple):
    """What plays of some queries add up to, each as of its query's last play.

    Attributes:
        histories: first and last plays, and how many there are.
        counts: (Q,) int64, plays, each counted whole.
        tastes: (Q, d) float32 by half-life's name, sums of item vectors.
        interests: (Q, CODE_SIZE) float32, codes, each halved with every INTERESTS_HALF_LIFE plays.
        by_creator: weight of each creator.
        items: each item once; those without a vector are one, -1.
        habits: (Q, columns) float64 by group, weights of hours, weekdays and so on.
    """

    histories: Histories
    counts: np.ndarray
    tastes: dict[str, np.ndarray]
    interests: np.ndarray
    by_creator: Pairs
    items: Pairs
    habits: dict[str, np.ndarray]

    def of(self, query: int) -> Sums:
        """The sums of one query, as its only one."""
        one = slice(query, query + 1)
        histories = Histories(*(getattr(self.histories, name)[one] for name in HISTORY))
        return Sums(
            histories,
            counts=self.counts[one],
            tastes={name: total[one] for name, total in self.tastes.items()},
            interests=self.interests[one],
            by_creator=_of_query(self.by_creator, query),
            items=_of_query(self.items, query),
            habits={name: total[one] for name, total in self.habits.items()},
        )

    def then(self, later: Sums) -> Sums:
        """The sums of these plays and of others of the same queries.

        Args:
            later: of plays after these. Where they are not, interests alone are not exact.
        """
        last = np.maximum(self.histories.last, later.histories.last)
        ours, theirs = (_faded(side.histories.last, last) for side in (self, later))

        def added(mine: np.ndarray, other: np.ndarray, half_life: float) -> np.ndarray:
            both = mine * ours(half_life)[:, None] + other * theirs(half_life)[:, None]
            return both.astype(mine.dtype)

        plays = [
            mine * ours(half_life) + other * theirs(half_life)
            for mine, other, half_life in zip(
                self.histories.plays.T,
                later.histories.plays.T,
                HALF_LIVES.values(),
                strict=True,
            )
        ]
        newer = decay(later.counts, INTERESTS_HALF_LIFE)[:, None]
        return Sums(
            Histories(_first(self.histories, later.histories), last, np.stack(plays, axis=1)),
            counts=self.counts + later.counts,
            tastes={
                name: added(total, later.tastes[name], HALF_LIVES[name])
                for name, total in self.tastes.items()
            },
            interests=(self.interests * newer).astype(np.float32) + later.interests,
            by_creator=_union(
                [
                    _times(side.by_creator, faded(LONGEST))
                    for side, faded in ((self, ours), (later, theirs))
                ]
            ),
            items=_once(_union([self.items, later.items])),
            habits={
                name: added(total, later.habits[name], LONGEST)
                for name, total in self.habits.items()
            },
        )


def stacked(parts: Sequence[Sums]) -> Sums:
    """The sums of several, the queries of the first part first."""
    queries = np.cumsum([0, *(len(part.counts) for part in parts[:-1])])

    def one_below_other(pick: Callable[[Sums], np.ndarray]) -> np.ndarray:
        return np.concatenate([pick(part) for part in parts])

    def shifted(pick: Callable[[Sums], Pairs]) -> Pairs:
        each = [pick(part) for part in parts]
        whose = [pairs.query + first for pairs, first in zip(each, queries, strict=True)]
        return Pairs(
            np.concatenate(whose),
            np.concatenate([pairs.column for pairs in each]),
            np.concatenate([pairs.weight for pairs in each]),
        )

    def by_name(of: str) -> dict[str, np.ndarray]:
        names = getattr(parts[0], of)
        return {name: np.concatenate([getattr(part, of)[name] for part in parts]) for name in names}

    return Sums(
        Histories(
            first=one_below_other(lambda sums: sums.histories.first),
            last=one_below_other(lambda sums: sums.histories.last),
            plays=one_below_other(lambda sums: sums.histories.plays),
        ),
        counts=one_below_other(lambda sums: sums.counts),
        tastes=by_name("tastes"),
        interests=one_below_other(lambda sums: sums.interests),
        by_creator=shifted(lambda sums: sums.by_creator),
        items=shifted(lambda sums: sums.items),
        habits=by_name("habits"),
    )


def _of_query(pairs: Pairs, query: int) -> Pairs:
    begin, end = np.searchsorted(pairs.query, [query, query + 1])
    column, weight = pairs.column[begin:end], pairs.weight[begin:end]
    return Pairs(np.zeros(end - begin, np.int64), column, weight)


def _faded(from_last: np.ndarray, to_last: np.ndarray) -> Callable[[float], np.ndarray]:
    """By half-life, how much of sums is left when they are told of a later moment, (Q,)."""
    heard = from_last != NEVER
    behind = np.where(heard, to_last - from_last, 0) / DAY
    return lambda half_life: np.where(heard, decay(behind, half_life), 0.0)


def _first(one: Histories, other: Histories) -> np.ndarray:
    """The earlier of two first plays, (Q,); NEVER where there is neither."""
    both = np.minimum(one.first, other.first)
    return np.where(
        one.first == NEVER, other.first, np.where(other.first == NEVER, one.first, both)
    )


def _times(pairs: Pairs, factor: np.ndarray) -> Pairs:
    return pairs._replace(weight=pairs.weight * factor[pairs.query])


def _once(pairs: Pairs) -> Pairs:
    return pairs._replace(weight=np.ones(len(pairs.query)))


def _union(sides: Iterable[Pairs]) -> Pairs:
    """Pairs of several, weights of the same pair added up."""
    query, column, weight = (np.concatenate(of) for of in zip(*sides, strict=True))
    order = np.lexsort((column, query))
    query, column, weight = query[order], column[order], weight[order]
    new = (np.diff(query, prepend=-1) != 0) | (np.diff(column, prepend=-2) != 0)
    begins = np.flatnonzero(new)
    total = np.add.reduceat(weight, begins) if len(begins) else weight
    return Pairs(query[begins], column[begins], total)
