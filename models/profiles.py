"""What users have told us, as of any moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.events import DAY, DAYS_PER_YEAR, Profiles
from models.words import group_columns

if TYPE_CHECKING:
    from models.layout import FeatureLayout

WORDS = ("country", "language", "subscription")
SCHEMA = pa.schema(
    {
        "registered_at": pa.int64(),
        **dict.fromkeys(WORDS, pa.string()),
        "birth_year": pa.int32(),
        "picked_at": pa.list_(pa.int64()),
        "picked_item": pa.list_(pa.int32()),
        "picked_creator": pa.list_(pa.int32()),
    }
)


class Told:
    """The profiles of some users; of whom there is none, nothing is known.

    Args:
        rows: one per user who has told anything: user_id as dictionary, and ``SCHEMA``; None if
            nobody.
        users: (U,) everybody's ids.
        layout: the groups, whose columns words are turned into.
    """

    def __init__(self, rows: pa.Table | None, users: pa.Array, layout: FeatureLayout) -> None:
        nobody = pa.nulls(len(users), pa.int64())
        if rows is None:
            rows = SCHEMA.empty_table()
            row_of = nobody
        else:
            ids = rows["user_id"].combine_chunks()
            row_of = pc.index_in(users, ids.dictionary_decode())
        own = rows.take(row_of)
        self._words = {name: group_columns(own[name], layout[name]) for name in WORDS}
        self._born = own["birth_year"].to_numpy().astype(np.float64)
        self._registered = _or_none(own["registered_at"])
        self._picks = own.select(["picked_at", "picked_item", "picked_creator"]).combine_chunks()

    def at(self, users: np.ndarray, moments: np.ndarray) -> Profiles:
        """What the users in those rows had told by moments in microseconds, both (Q,)."""
        year = 1970 + moments / DAY / DAYS_PER_YEAR
        registered = self._registered[users]
        # A profile says nothing about moments before it was made.
        known = ~(registered > moments)
        words = {name: np.where(known, codes[users], -1) for name, codes in self._words.items()}
        return Profiles(
            **words,
            age=np.where(known, np.floor(year - self._born[users]), np.nan),
            account_age=np.where(known, (moments - registered) / DAY, np.nan),
            **self._picked(users, moments),
        )

    def _picked(self, users: np.ndarray, moments: np.ndarray) -> dict[str, np.ndarray]:
        """The picks that were made before each moment."""
        chosen = self._picks.take(pa.array(users))
        lists = {name: chosen[name].combine_chunks() for name in chosen.column_names}
        query = pc.list_parent_indices(lists["picked_at"]).to_numpy().astype(np.int64)
        at, item, creator = (
            pc.list_flatten(values).to_numpy().astype(np.int64) for values in lists.values()
        )
        then = at < moments[query]
        return {"pick_query": query[then], "pick_item": item[then], "pick_creator": creator[then]}


def _or_none(times: pa.ChunkedArray) -> np.ndarray:
    """Times as float64, exact to the microsecond for centuries; NaN where there is none."""
    found: np.ndarray = times.to_numpy().astype(np.float64)
    return found
