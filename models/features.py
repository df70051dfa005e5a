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
from models.layout import AGE_BANDS, HALF_LIVES, INTERESTS, LONGEST
from models.ranks import first_of_each
from models.sums import weighted_sums

if TYPE_CHECKING:
    from models.events import Events, Profiles
    from models.layout import FeatureLayout

FAVOURITES = 5  # creators
INTERESTS_HALF_LIFE = 50.0  # plays, which means the same to whoever plays much or little
FAVOURITES_SHARE = 0.5  # of favourite creators in interests
Part = tuple[np.ndarray, np.ndarray]  # values (Q, w) of a group, and for whom it is known (Q,) bool


def decay(age: np.ndarray, half_life: float) -> np.ndarray:
    """2^(-age / half_life), both in days, or both in plays."""
    return np.exp2(-age / half_life)


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
        queries = len(moments)
        events = events.in_order()
        histories = _histories(events, queries)
        heard = histories.last != NEVER
        behind = (histories.last[events.query] - events.at) / DAY
        by_creator = _by_creator(events, behind, len(self._space.creators))
        favourites = _favourites(by_creator)
        amounts = np.zeros((queries, self.layout["amounts"].width))
        amounts[:, STILL] = _variety(events, queries, by_creator)
        amounts[:, MOVING] = _moving(histories, moments)
        parts = {
            **self._tastes(events, behind, queries),
            "creators": _direction(_summed(self._space.creators, favourites, queries)),
            INTERESTS: self._interests(events, favourites, queries),
            "amounts": (amounts, heard),
            **self._habits(events, behind, queries),
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

    def _tastes(self, events: Events, behind: np.ndarray, queries: int) -> dict[str, Part]:
        heard = events.item >= 0
        item, owner = events.item[heard], events.query[heard]
        found = {}
        for name, half_life in HALF_LIVES.items():
            # As of the last play, for a history of years ago would vanish in float32.
            weight = (events.weight * decay(behind, half_life))[heard]
            plays = Pairs(owner, item, weight)
            found[name] = _direction(_summed(self._space.vectors, plays, queries))
        return found

    def _interests(self, events: Events, favourites: Pairs, queries: int) -> Part:
        """Where the last plays lay, and half as much where the favourite creators lie."""
        heard = events.item >= 0
        weight = (events.weight * decay(_plays_after(events), INTERESTS_HALF_LIFE))[heard]
        plays = Pairs(events.query[heard], events.item[heard], weight)
        lately = unit(_summed(self._space.codes, plays, queries))
        liked = unit(_summed(self._space.creator_codes, favourites, queries))
        return _direction(lately + FAVOURITES_SHARE * liked)

    def _habits(self, events: Events, behind: np.ndarray, queries: int) -> dict[str, Part]:
        weight = events.weight * decay(behind, LONGEST)
        found = {}
        for name in ("hour", "weekday", "kind", "surface", "device"):
            column = getattr(events, name)
            width = self.layout[name].width
            known = column >= 0
            cell = (events.query * width + column)[known]
            shares = np.bincount(cell, weight[known], queries * width).astype(float)
            shares = shares.reshape(queries, width)
            total = shares.sum(axis=1, keepdims=True)
            found[name] = np.divide(shares, total, out=shares, where=total > 0), total[:, 0] > 0
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


class Pairs(NamedTuple):
    """Weight by query and column, in that order; all arrays (N,)."""

    query: np.ndarray
    column: np.ndarray
    weight: np.ndarray


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


def _variety(events: Events, queries: int, by_creator: Pairs) -> np.ndarray:
    """The amounts that only a play changes, (Q, 3), as STILL has them."""
    plays = np.bincount(events.query, minlength=queries)
    width = int(events.item.max(initial=0)) + 2
    cell = np.sort(events.query * width + events.item + 1)
    distinct = np.bincount(cell[np.diff(cell, prepend=-1) > 0] // width, minlength=queries)
    columns = [
        np.log1p(distinct),
        distinct / np.maximum(plays, 1),
        _evenness(by_creator, queries),
    ]
    return np.stack(columns, axis=1)


def _evenness(by_creator: Pairs, queries: int) -> np.ndarray:
    """Entropy of the shares of creators over its largest possible value, (Q,) in [0, 1]."""
    total = np.bincount(by_creator.query, by_creator.weight, queries)
    share = by_creator.weight / total[by_creator.query]
    entropy = -np.bincount(by_creator.query, share * np.log(share), queries)
    creators = np.bincount(by_creator.query, minlength=queries)
    return np.divide(entropy, np.log(np.maximum(creators, 2)))
