"""What item vectors find of plays that were held out, by the mean of what was played before.

The protocol: a query is the mean of the unit vectors of some items; all items are ranked by cosine,
without those of the query; a query *hits* at k if an item that was held out is among the first k,
and its *recall* is the share of them that are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluation.metrics import highest
from models.features import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUERIES_AT_ONCE = 512
FARTHEST = 500  # the largest k that is asked for


@dataclass(frozen=True)
class Split:
    """Plays to learn from, and queries with what they should find.

    Attributes:
        user: (P,) int64, ascending; whose play each is.
        item: (P,) int64, each play's item, in order within a user.
        items: (N,) the ids of the items, which ``item`` counts.
        queries: for each query its items, and those that were held out.
    """

    user: np.ndarray
    item: np.ndarray
    items: np.ndarray
    queries: Sequence[tuple[np.ndarray, np.ndarray]]


def last_plays(
    user: np.ndarray, item: np.ndarray, share: float, latest: int = 10, fewest: int = 5
) -> Split:
    """Hold out the last plays of every user.

    Args:
        user: (P,) int64, ascending.
        item: (P,) int64 ids, in order within a user.
        share: of each user's plays to hold out.
        latest: plays before these that make the query.
        fewest: plays to learn from that an item needs; others are left out altogether.
    """
    size = np.bincount(user)[user]
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    learned = rank < np.floor(size * (1 - share))
    items = _often(item[learned], fewest)
    known = np.isin(item, items)
    place = np.searchsorted(items, item)
    train, test = learned & known, ~learned & known
    before, after = (pd.Series(place[part]).groupby(user[part]) for part in (train, test))
    wanted = {who: np.unique(rows.to_numpy()) for who, rows in after}
    queries = [(rows.to_numpy()[-latest:], wanted[who]) for who, rows in before if who in wanted]
    return Split(user[train], place[train], items, queries)


def last_of_some(
    context: np.ndarray, item: np.ndarray, held_out: np.ndarray, fewest: int = 5
) -> Split:
    """Hold out whole contexts; the query is all of one but its last item, which is to be found.

    Args:
        context: (P,) int64, ascending.
        item: (P,) int64 ids, in order within a context.
        held_out: (P,) bool, the plays of contexts that nothing is learned from.
        fewest: as in ``last_plays``.
    """
    items = _often(item[~held_out], fewest)
    known = np.isin(item, items)
    place = np.searchsorted(items, item)
    train = ~held_out & known
    queries = []
    ends = np.flatnonzero(np.diff(context[held_out])) + 1
    parts = (np.split(values[held_out], ends) for values in (place, known))
    for items_of, known_of in zip(*parts, strict=True):
        rest = items_of[:-1][known_of[:-1]]
        if known_of[-1] and len(rest):
            queries.append((rest, items_of[-1:]))
    return Split(context[train], place[train], items, queries)


def _often(item: np.ndarray, fewest: int) -> np.ndarray:
    ids, plays = np.unique(item, return_counts=True)
    return ids[plays >= fewest]


def found(vectors: np.ndarray, split: Split) -> dict[str, float]:
    """Mean over queries of hit@10, recall@50 and hit@500 by cosine.

    Args:
        vectors: (N, d), zeros where an item has none.
        split: the protocol's.
    """
    known = unit(vectors)

    def scores(queries: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([known[items].mean(axis=0) for items in queries]) @ known.T

    return _ranked(scores, split)


def found_by_popularity(split: Split) -> dict[str, float]:
    """The same, where every query gets the most played items."""
    plays = np.bincount(split.item, minlength=len(split.items)).astype(np.float32)
    return _ranked(lambda queries: np.tile(plays, (len(queries), 1)), split)


def _ranked(scores: Callable[[Sequence[np.ndarray]], np.ndarray], split: Split) -> dict[str, float]:
    counted = []
    for first in range(0, len(split.queries), QUERIES_AT_ONCE):
        part = split.queries[first : first + QUERIES_AT_ONCE]
        score = scores([items for items, _ in part])
        for row, (items, wanted) in enumerate(part):
            score[row, items] = -np.inf
            near = highest(score[row], FARTHEST)
            right = np.isin(near, wanted)
            counted.append((right[:10].any(), right[:50].sum() / len(wanted), right.any()))
    names = ("hit@10", "recall@50", f"hit@{FARTHEST}")
    return dict(zip(names, np.mean(counted, axis=0).round(4).tolist(), strict=True))
