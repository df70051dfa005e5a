"""One definition of the features of a user, for Spark over partitions and for one user alone.

A history is summed with exponential half-lives instead of hard windows::

    S_h(T) = Σ_i w_i · 2^(-(T - t_i) / h) · v_i

so that one event can be added in O(d), in any order, and a batch over all events gives the same
number. A row here is a *query*: one user at one moment ``as_of``; the caller passes only what was
known then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from models.layout import AGE_BANDS, HALF_LIVES, LONGEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.layout import FeatureLayout

FULL_PLAY_MS = 30_000  # a play of half a minute counts whole, as streams are counted
SKIP_WEIGHT = 0.1  # of a play that ended at once
FAVOURITES = 5  # creators
SECONDS_PER_DAY = 86_400.0
DAYS_PER_YEAR = 365.2425


@dataclass(frozen=True)
class Events:
    """Plays, each of one query; all arrays (E,).

    Attributes:
        query: int64, row of the query that the play counts for.
        item: int64, row of the item in the vector matrix; -1 where it has no vector.
        creator: int64, dense index of the item's creator; -1 where unknown.
        age: float64, days from the play to the query's moment, never negative.
        weight: float64, how much the play counts.
        hour: int64, hour of the day, UTC.
        weekday: int64, 0 for Monday.
        kind, surface, device: int64, columns of those groups; -1 where unknown.
    """

    query: np.ndarray
    item: np.ndarray
    creator: np.ndarray
    age: np.ndarray
    weight: np.ndarray
    hour: np.ndarray
    weekday: np.ndarray
    kind: np.ndarray
    surface: np.ndarray
    device: np.ndarray

    def take(self, chosen: np.ndarray, query: np.ndarray, age: np.ndarray) -> Events:
        """Some of the plays, for other queries at other moments."""
        rest = ("item", "creator", "weight", "hour", "weekday", "kind", "surface", "device")
        return Events(query=query, age=age, **{name: getattr(self, name)[chosen] for name in rest})


@dataclass(frozen=True)
class Profiles:
    """What each query's user has told us; lists of Q entries.

    Attributes:
        country, language, subscription: text, None where untold.
        age: years, NaN where untold.
        account_age: days since registration, NaN where unknown.
        picked_items, picked_creators: indices of onboarding picks, empty where there are none.
    """

    country: Sequence[str | None]
    language: Sequence[str | None]
    subscription: Sequence[str | None]
    age: np.ndarray
    account_age: np.ndarray
    picked_items: Sequence[Sequence[int]]
    picked_creators: Sequence[Sequence[int]]


def play_weight(ms_played: np.ndarray) -> np.ndarray:
    """How much a play counts: 1 from half a minute on or where nobody measured, less for a skip.

    Args:
        ms_played: (E,) float64, NaN where unknown.

    Returns:
        (E,) float64 in [SKIP_WEIGHT, 1].
    """
    return np.where(np.isnan(ms_played), 1.0, np.clip(ms_played / FULL_PLAY_MS, SKIP_WEIGHT, 1.0))


def decay(age: np.ndarray, half_life: float) -> np.ndarray:
    """2^(-age / half_life), both in days."""
    return np.exp2(-age / half_life)


def creator_vectors(vectors: np.ndarray, creator_of_item: np.ndarray, creators: int) -> np.ndarray:
    """Mean vector of each creator's items, (creators, d) float32 of length 1 or 0."""
    known = np.flatnonzero(creator_of_item >= 0)
    shape = (creators, len(creator_of_item))
    ones = np.ones(len(known), np.float32)
    owner = sparse.csr_matrix((ones, (creator_of_item[known], known)), shape=shape)
    return unit(owner @ vectors)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, and zeros where there was nothing, float32."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0).astype(np.float32)


class FeatureBuilder:
    """Turns plays and profiles into feature rows of one layout.

    Args:
        layout: the groups.
        vectors: (items, d) float32 unit vectors; may be memory-mapped.
        creators: (creators, d) float32, as ``creator_vectors`` gives them.
    """

    def __init__(self, layout: FeatureLayout, vectors: np.ndarray, creators: np.ndarray) -> None:
        self.layout = layout
        self._vectors = vectors
        self._creators = creators

    def rows(
        self, events: Events, profiles: Profiles, queries: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute feature rows.

        Args:
            events: plays that were known at each query's moment.
            profiles: what each query's user has told us by then.
            queries: number of rows.

        Returns:
            features (Q, layout.width) float32, and present (Q, groups) float32 of 0 and 1.
        """
        features = np.zeros((queries, self.layout.width), np.float32)
        present = np.zeros((queries, len(self.layout.groups)), np.float32)
        parts = {
            **self._tastes(events, queries),
            "creators": self._favourites(events, queries),
            "onboarding": self._onboarding(profiles),
            "amounts": _amounts(events, queries),
            **self._habits(events, queries),
            **self._told(profiles),
        }
        for position, group in enumerate(self.layout.groups):
            values, known = parts[group.name]
            features[:, group.slice] = np.where(known[:, None], values, 0.0)
            present[:, position] = known
        return features, present

    def _tastes(self, events: Events, queries: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        with_vector = events.item >= 0
        found = {}
        for name, half_life in HALF_LIVES.items():
            # Shifting a query's ages by its youngest scales its sum, which is then set to length 1:
            # it keeps a history of years ago from vanishing in float32.
            weight = events.weight * decay(events.age - _youngest(events, queries), half_life)
            spread = sparse.csr_matrix(
                (weight[with_vector], (events.query[with_vector], events.item[with_vector])),
                shape=(queries, len(self._vectors)),
            )
            total = np.asarray(spread @ self._vectors)  # (Q, d)
            found[name] = unit(total), np.linalg.norm(total, axis=1) > 0
        return found

    def _favourites(self, events: Events, queries: int) -> tuple[np.ndarray, np.ndarray]:
        counts = _creator_counts(events, queries, len(self._creators))
        # Rounded, for equal creators must not change places with the order of their plays.
        order = np.lexsort((counts.col, -counts.data.round(9), counts.row))
        row, column, weight = counts.row[order], counts.col[order], counts.data[order]
        first = np.searchsorted(row, np.arange(queries))
        rank = np.arange(len(row)) - first[row]
        top = rank < FAVOURITES
        chosen = sparse.csr_matrix((weight[top], (row[top], column[top])), shape=counts.shape)
        total = np.asarray(chosen @ self._creators)
        return unit(total), np.linalg.norm(total, axis=1) > 0

    def _onboarding(self, profiles: Profiles) -> tuple[np.ndarray, np.ndarray]:
        total = _sums(profiles.picked_items, self._vectors)
        total += _sums(profiles.picked_creators, self._creators)
        return unit(total), np.linalg.norm(total, axis=1) > 0

    def _habits(self, events: Events, queries: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        weight = events.weight * decay(events.age - _youngest(events, queries), LONGEST)
        found = {}
        for name in ("hour", "weekday", "kind", "surface", "device"):
            column = getattr(events, name)
            known = column >= 0
            width = self.layout[name].width
            cell = events.query[known] * width + column[known]
            shares = np.bincount(cell, weight[known], queries * width).astype(float)
            shares = shares.reshape(queries, width)
            total = shares.sum(axis=1, keepdims=True)
            found[name] = np.divide(shares, total, out=shares, where=total > 0), total[:, 0] > 0
        return found

    def _told(self, profiles: Profiles) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        found = {}
        for name in ("country", "language", "subscription"):
            values: Sequence[str | None] = getattr(profiles, name)
            known = np.array([value is not None for value in values], bool)
            found[name] = np.eye(self.layout[name].width)[self.layout[name].index(values)], known
        band = np.searchsorted(AGE_BANDS, np.nan_to_num(profiles.age), side="right")
        found["age"] = np.eye(len(AGE_BANDS) + 1)[band], ~np.isnan(profiles.age)
        known = ~np.isnan(profiles.account_age)
        days = np.maximum(np.nan_to_num(profiles.account_age), 0.0)
        found["account_age"] = np.log1p(days)[:, None], known
        return found


def _youngest(events: Events, queries: int) -> np.ndarray:
    """For each event the age of the youngest event of its query, (E,)."""
    youngest = np.full(queries, np.inf)
    np.minimum.at(youngest, events.query, events.age)
    return youngest[events.query]


def _creator_counts(events: Events, queries: int, creators: int) -> sparse.coo_matrix:
    known = events.creator >= 0
    weight = events.weight * decay(events.age - _youngest(events, queries), LONGEST)
    counts = sparse.csr_matrix(
        (weight[known], (events.query[known], events.creator[known])), shape=(queries, creators)
    )
    return counts.tocoo()


def _sums(picks: Sequence[Sequence[int]], vectors: np.ndarray) -> np.ndarray:
    """Sum of the picked rows of a matrix, for each query, (Q, d)."""
    owner = np.repeat(np.arange(len(picks)), [len(chosen) for chosen in picks])
    column = np.array([index for chosen in picks for index in chosen], np.int64)
    picked = sparse.csr_matrix(
        (np.ones(len(column)), (owner, column)), shape=(len(picks), len(vectors))
    )
    return np.asarray(picked @ vectors)


def _amounts(events: Events, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """How much, how varied and how recent, (Q, 8); the columns are ``layout.AMOUNTS``."""
    plays = np.bincount(events.query, minlength=queries)
    decayed = [
        np.bincount(events.query, events.weight * decay(events.age, half_life), queries)
        for half_life in HALF_LIVES.values()
    ]
    pairs = np.unique(np.stack([events.query, events.item]), axis=1)
    distinct = np.bincount(pairs[0], minlength=queries)
    youngest, oldest = np.full(queries, np.inf), np.zeros(queries)
    np.minimum.at(youngest, events.query, events.age)
    np.maximum.at(oldest, events.query, events.age)
    heard = plays > 0
    columns = [
        *(np.log1p(total) for total in decayed),
        np.log1p(distinct),
        distinct / np.maximum(plays, 1),
        _evenness(events, queries),
        np.log1p(np.where(heard, youngest, 0.0)),
        np.log1p(oldest),
    ]
    return np.stack(columns, axis=1), heard


def _evenness(events: Events, queries: int) -> np.ndarray:
    """Entropy of the shares of creators over its largest possible value, (Q,) in [0, 1]."""
    counts = _creator_counts(events, queries, int(events.creator.max(initial=0)) + 1)
    total = np.bincount(counts.row, counts.data, queries)
    share = counts.data / total[counts.row]
    entropy = -np.bincount(counts.row, share * np.log(share), queries)
    creators = np.bincount(counts.row, minlength=queries)
    return np.divide(entropy, np.log(np.maximum(creators, 2)))
