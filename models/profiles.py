"""What users have told us, as of any moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.events import DAY, DAYS_PER_YEAR, Profiles
from models.words import group_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.layout import FeatureLayout

WORDS = ("country", "language", "subscription")
PICKED = ("picked_at", "picked_item", "picked_creator")
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


@dataclass(frozen=True)
class Told:
    """The profiles of some users; of whom there is none, nothing is known.

    Attributes:
        words: by name of WORDS (U,) int64, columns of those groups; -1 where untold.
        born: (U,) float64 years, NaN where untold.
        registered: (U,) float64 microseconds, NaN where unknown.
        picks: picked_at, picked_item and picked_creator as in ``SCHEMA``, U rows.
    """

    words: Mapping[str, np.ndarray]
    born: np.ndarray
    registered: np.ndarray
    picks: pa.Table

    @classmethod
    def of_rows(cls, rows: pa.Table | None, users: pa.Array, layout: FeatureLayout) -> Told:
        """The profiles of users in that order.

        Args:
            rows: one per user who has told anything: user_id as dictionary, and ``SCHEMA``; None
                if nobody.
            users: (U,) everybody's ids.
            layout: the groups, whose columns words are turned into.
        """
        if rows is None:
            rows, row_of = SCHEMA.empty_table(), pa.nulls(len(users), pa.int64())
        else:
            ids = rows["user_id"].combine_chunks()
            row_of = pc.index_in(users, ids.dictionary_decode())
        own = rows.take(row_of)
        return cls(
            words={name: group_columns(own[name], layout[name]) for name in WORDS},
            born=own["birth_year"].to_numpy().astype(np.float64),
            registered=_or_none(own["registered_at"]),
            picks=own.select(list(PICKED)).combine_chunks(),
        )

    def at(self, users: np.ndarray, moments: np.ndarray) -> Profiles:
        """What the users in those rows had told by moments in microseconds, both (Q,)."""
        year = 1970 + moments / DAY / DAYS_PER_YEAR
        registered = self.registered[users]
        # A profile says nothing about moments before it was made.
        known = ~(registered > moments)
        words = {name: np.where(known, codes[users], -1) for name, codes in self.words.items()}
        return Profiles(
            **words,
            age=np.where(known, np.floor(year - self.born[users]), np.nan),
            account_age=np.where(known, (moments - registered) / DAY, np.nan),
            **self._picked(users, moments),
        )

    def _picked(self, users: np.ndarray, moments: np.ndarray) -> dict[str, np.ndarray]:
        """The picks that were made before each moment."""
        chosen = self.picks.take(pa.array(users))
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
