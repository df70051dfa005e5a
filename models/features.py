"""One definition of the features of a user, for Spark over partitions and for one user alone.

A history is summed with exponential half-lives instead of hard windows::

    S_h(T) = Σ_i w_i · 2^(-(T - t_i) / h) · v_i

so that one event can be added in O(d), in any order, and a batch over all events gives the same
number. Interests alone fade by plays instead of days. A row here is a *query*: one user at one
moment ``as_of``; the caller passes only what was known then.

Sums are kept as of a history's last play. To go on to a later moment T multiplies them all by
2^(-(T - t_last) / h), which turns no direction and moves no share: without new plays only the
amounts of a row change, and ``FeatureBuilder.later`` gives the row of a full computation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.events import DAY, NEVER, Histories, Rows
from models.history import INTERESTS_HALF_LIFE, Pairs, Sums, decay
from models.layout import AGE_BANDS, HALF_LIVES, INTERESTS, LONGEST
from models.ranks import first_of_each
from models.sums import weighted_sums

if TYPE_CHECKING:
    from models.events import Events, Profiles
    from models.layout import FeatureLayout

FAVOURITES = 5  # creators
FAVOURITES_SHARE = 0.5  # of favourite creators in interests
HABITS = ("hour", "weekday", "kind", "surface", "device")
Part = tuple[np.ndarray, np.ndarray]  # values (Q, w) of a group, and for whom it is known (Q,) bool


def creator_vectors(vectors: np.ndarray, creator_of_item: np.ndarray, creators: int) -> np.ndarray:
    """Mean vector of each creator's items, (creators, d) float32 of length 1 or 0."""
    known = np.flatnonzero(creator_of_item >= 0)
    order = known[np.argsort(creator_of_item[known], kind="stable")]
    ones = np.ones(len(order), np.float32)
    return unit(weighted_sums(vectors, order, creator_of_item[order], ones, creators))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, and zeros where there was nothing, float32."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0).astype(np.float32)


class ItemSpace(NamedTuple):
    """Items and creators as features see them; all may be memory-mapped.

    Attributes:
        vectors: (items, d) float32 unit vectors.
        creators: (creators, d) float32, as ``creator_vectors`` gives them.
        codes: (items, CODE_SIZE) float32, as ``models.codebook`` gives them.
        creator_codes: (creators, CODE_SIZE) float32, of the creators' vectors.
    """

    vectors: np.ndarray
    creators: np.ndarray
    codes: np.ndarray
    creator_codes: np.ndarray


class FeatureBuilder:
    """Turns plays and profiles into feature rows of one layout.

    Args:
        layout: the groups.
        space: of the items.
    """

    def __init__(self, layout: FeatureLayout, space: ItemSpace) -> None:
        self.layout = layout
        self._space = space

    def rows(self, events: Events, profiles: Profiles, moments: np.ndarray) -> Rows:
        """Feature rows, zeros where a group is missing.

        Args:
            events: plays that were known at their query's moment.
            profiles: what each query's user has told us by then.
            moments: (Q,) int64 microseconds.
        """
        return self.finish(self.sums(events, len(moments)), profiles, moments)

    def sums(self, events: Events, queries: int) -> Sums:
        """What plays add up to, for each query as of its last play.

        Args:
            events: of any order.
            queries: how many there are.
        """
        events = events.in_order()
        histories = _histories(events, queries)
        behind = (histories.last[events.query] - events.at) / DAY
        heard = events.item >= 0
        item, owner = events.item[heard], events.query[heard]
        # As of the last play, for a history of years ago would vanish in float32.
        by_age = {
            name: Pairs(owner, item, (events.weight * decay(behind, half_life))[heard])
            for name, half_life in HALF_LIVES.items()
        }
        by_plays = events.weight * decay(_plays_after(events), INTERESTS_HALF_LIFE)
        return Sums(
            histories,
            counts=np.bincount(events.query, minlength=queries),
            tastes={
                name: _summed(self._space.vectors, pairs, queries) for name, pairs in by_age.items()
            },
            interests=_summed(self._space.codes, Pairs(owner, item, by_plays[heard]), queries),
            by_creator=_by_creator(events, behind, len(self._space.creators)),
            items=_distinct(events),
            habits=self._habits(events, behind, queries),
        )

    def finish(self, sums: Sums, profiles: Profiles, moments: np.ndarray) -> Rows:
        """The rows of histories that have been added up; the rest as in ``rows``."""
        queries = len(moments)
        histories = sums.histories
        heard = histories.last != NEVER
        favourites = _favourites(sums.by_creator)
        amounts = np.zeros((queries, self.layout["amounts"].width))
        amounts[:, STILL] = _variety(sums, queries)
        amounts[:, MOVING] = _moving(histories, moments)
        parts = {
            **{name: _direction(total) for name, total in sums.tastes.items()},
            "creators": _direction(_summed(self._space.creators, favourites, queries)),
            INTERESTS: self._interests(sums.interests, favourites, queries),
            "amounts": (amounts, heard),
            **{name: _shares(total) for name, total in sums.habits.items()},
            **self._told(profiles),
        }
        features = np.zeros((queries, self.layout.width), np.float32)
        present = np.zeros((queries, len(self.layout.groups)), np.float32)
        self._put(parts, features, present)
        return Rows(features, present, histories)

    def later(self, rows: Rows, profiles: Profiles, moments: np.ndarray) -> Rows:
        """The rows of the same plays at later moments, as a full computation would give them.

        Args:
            rows: as they were, with their histories.
            profiles: what each user has told us by the new moment.
            moments: (Q,) int64 microseconds.
        """
        features, present = rows.features.copy(), rows.present.copy()
        amounts = features[:, self.layout["amounts"].slice].astype(np.float64)
        amounts[:, MOVING] = _moving(rows.histories, moments)
        heard = rows.histories.last != NEVER
        self._put({"amounts": (amounts, heard), **self._told(profiles)}, features, present)
        return Rows(features, present, rows.histories)

    def _put(self, parts: dict[str, Part], features: np.ndarray, present: np.ndarray) -> None:
        for position, group in enumerate(self.layout.groups):
            if group.name in parts:
                values, known = parts[group.name]
                features[:, group.slice] = np.where(known[:, None], values, 0.0)
                present[:, position] = known

    def _interests(self, total: np.ndarray, favourites: Pairs, queries: int) -> Part:
        """Where the last plays lay, and half as much where the favourite creators lie."""
        liked = unit(_summed(self._space.creator_codes, favourites, queries))
        return _direction(unit(total) + FAVOURITES_SHARE * liked)

    def _habits(self, events: Events, behind: np.ndarray, queries: int) -> dict[str, np.ndarray]:
        weight = events.weight * decay(behind, LONGEST)
        found = {}
        for name in HABITS:
            column = getattr(events, name)
            width = self.layout[name].width
            known = column >= 0
            cell = (events.query * width + column)[known]
            total = np.bincount(cell, weight[known], queries * width).astype(float)
            found[name] = total.reshape(queries, width)
        return found

    def _told(self, profiles: Profiles) -> dict[str, Part]:
        found = {"onboarding": self._onboarding(profiles)}
        for name in ("country", "language", "subscription"):
            column = getattr(profiles, name)
            found[name] = np.eye(self.layout[name].width)[column], column >= 0
        band = np.searchsorted(AGE_BANDS, np.nan_to_num(profiles.age), side="right")
        found["age"] = np.eye(len(AGE_BANDS) + 1)[band], ~np.isnan(profiles.age)
        days = np.maximum(np.nan_to_num(profiles.account_age), 0.0)
        found["account_age"] = np.log1p(days)[:, None], ~np.isnan(profiles.account_age)
        return found

    def _onboarding(self, profiles: Profiles) -> Part:
        queries = len(profiles.age)
        vectors, creators = self._space.vectors, self._space.creators
        total = np.zeros((queries, vectors.shape[1]), np.float32)
        picks = ((vectors, profiles.pick_item), (creators, profiles.pick_creator))
        for matrix, column in picks:
            known = column >= 0
            ones = np.ones(known.sum(), np.float32)
            total += weighted_sums(matrix, column[known], profiles.pick_query[known], ones, queries)
        return _direction(total)


MOVING = [0, 1, 2, 6, 7]  # columns of layout.AMOUNTS that change with time alone
STILL = [3, 4, 5]  # and those that only a play changes


def _plays_after(events: Events) -> np.ndarray:
    """How many plays of the same query are later, (E,); those of one moment are alike."""
    if not len(events.query):
        return np.zeros(0)
    order = np.lexsort((events.at, events.query))
    query, at = events.query[order], events.at[order]
    begins = np.flatnonzero(np.append(True, (np.diff(query) != 0) | (np.diff(at) != 0)))
    ends = np.append(begins[1:], len(order))
    all_of_query = np.searchsorted(query, query, side="right")
    found = np.zeros(len(order))
    found[order] = all_of_query - np.repeat(ends, ends - begins)
    return found


def _summed(matrix: np.ndarray, pairs: Pairs, queries: int) -> np.ndarray:
    """Weighted rows of a matrix, added up for each query, (queries, w) float32."""
    return weighted_sums(matrix, pairs.column, pairs.query, pairs.weight, queries)


def _favourites(by_creator: Pairs) -> Pairs:
    """The creators of each query that were played most."""
    # Rounded, for equal creators must not change places with the order of their plays.
    weight = -by_creator.weight.round(9)
    top = first_of_each(by_creator.query, FAVOURITES, weight, by_creator.column)
    return Pairs(by_creator.query[top], by_creator.column[top], by_creator.weight[top])


def _direction(total: np.ndarray) -> Part:
    return unit(total), np.linalg.norm(total, axis=1) > 0


def _histories(events: Events, queries: int) -> Histories:
    last = np.full(queries, NEVER, np.int64)
    first = np.full(queries, np.iinfo(np.int64).max)
    np.maximum.at(last, events.query, events.at)
    np.minimum.at(first, events.query, events.at)
    behind = (last[events.query] - events.at) / DAY
    plays = [
        np.bincount(events.query, events.weight * decay(behind, half_life), queries).astype(float)
        for half_life in HALF_LIVES.values()
    ]
    return Histories(np.where(last == NEVER, NEVER, first), last, np.stack(plays, axis=1))


def _moving(histories: Histories, moments: np.ndarray) -> np.ndarray:
    """The amounts that change with time alone, (Q, 5), as MOVING has them."""
    heard = histories.last != NEVER
    since_last, since_first = (
        np.where(heard, np.maximum(moments - at, 0), 0) / DAY
        for at in (histories.last, histories.first)
    )
    decayed = [
        np.log1p(plays * decay(since_last, half_life))
        for plays, half_life in zip(histories.plays.T, HALF_LIVES.values(), strict=True)
    ]
    return np.stack([*decayed, np.log1p(since_last), np.log1p(since_first)], axis=1)


def _by_creator(events: Events, behind: np.ndarray, creators: int) -> Pairs:
    known = events.creator >= 0
    weight = (events.weight * decay(behind, LONGEST))[known]
    cell = (events.query * max(creators, 1) + events.creator)[known]
    order = np.argsort(cell, kind="stable")
    cell = cell[order]
    begins = np.flatnonzero(np.diff(cell, prepend=-1))
    total = np.add.reduceat(weight[order], begins) if len(cell) else weight
    query, column = np.divmod(cell[begins], max(creators, 1))
    return Pairs(query, column, total)


def _distinct(events: Events) -> Pairs:
    """The items of each query, each once; those without a vector are one."""
    width = int(events.item.max(initial=0)) + 2
    cell = np.sort(events.query * width + events.item + 1)
    query, column = np.divmod(cell[np.diff(cell, prepend=-1) > 0], width)
    return Pairs(query, column - 1, np.ones(len(query)))


def _shares(total: np.ndarray) -> Part:
    whole = total.sum(axis=1, keepdims=True)
    return np.divide(total, whole, out=total.copy(), where=whole > 0), whole[:, 0] > 0


def _variety(sums: Sums, queries: int) -> np.ndarray:
    """The amounts that only a play changes, (Q, 3), as STILL has them."""
    distinct = np.bincount(sums.items.query, minlength=queries)
    columns = [
        np.log1p(distinct),
        distinct / np.maximum(sums.counts, 1),
        _evenness(sums.by_creator, queries),
    ]
    return np.stack(columns, axis=1)


def _evenness(by_creator: Pairs, queries: int) -> np.ndarray:
    """Entropy of the shares of creators over its largest possible value, (Q,) in [0, 1]."""
    total = np.bincount(by_creator.query, by_creator.weight, queries)
    share = by_creator.weight / total[by_creator.query]
    entropy = -np.bincount(by_creator.query, share * np.log(share), queries)
    creators = np.bincount(by_creator.query, minlength=queries)
    return np.divide(entropy, np.log(np.maximum(creators, 2)))
