"""Users of whom a batch has never heard: their plays in order, and what they told us.

A *newcomer* is a user whose first play lies at or after the batch's ``as_of``. None of its plays is
in the item vectors, in popularity, or in what the user model learned from. A user with any play
before ``as_of``, also one that we learned of too late to use, or whom the batch calls established,
is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.picks import Picks, read_picks
from models.events import play_weight
from models.profiles import SCHEMA, WORDS
from schemas.arrow import microseconds
from schemas.errors import InputError

if TYPE_CHECKING:
    from evaluation.catalogue import Catalogue
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

HABITS = ("item_kind", "surface", "device")
TOLD = ("registered_at", *WORDS, "birth_year")


@dataclass(frozen=True)
class Newcomers:
    """Some newcomers with all their plays.

    Attributes:
        user_ids: (U,) str.
        user: (P,) int64, ascending; whose play each is.
        item: (P,) int64, row of the catalogue in order of time; -1 where it has no vector.
        at: (P,) int64 microseconds.
        weight: (P,) float64, how much each play counts.
        habits: (P,) rows of item_kind, surface and device.
        profiles: (U,) rows of what each told, null where it told nothing.
        picks: what each picked.
    """

    user_ids: np.ndarray
    user: np.ndarray
    item: np.ndarray
    at: np.ndarray
    weight: np.ndarray
    habits: pa.Table
    profiles: pa.Table
    picks: Picks

    @property
    def bounds(self) -> np.ndarray:
        """Where each user's plays begin and the next one's, (U + 1,) int64."""
        return np.searchsorted(self.user, np.arange(len(self.user_ids) + 1))

    @property
    def first(self) -> np.ndarray:
        """When each user played first, (U,) int64 microseconds."""
        found: np.ndarray = self.at[self.bounds[:-1]]
        return found


def read_newcomers(
    lake: Lakehouse, batch: Batch, catalogue: Catalogue, most: int, seed: int
) -> Newcomers:
    """Read at most so many newcomers, drawn at random.

    Raises:
        InputError: there are none.
    """
    user_ids = _who(lake, batch, most, seed)
    rows, user, at = _plays(lake, batch, user_ids)
    played = rows["ms_played"].to_numpy(zero_copy_only=False).astype(np.float64)
    first = at[np.searchsorted(user, np.arange(len(user_ids)))]
    return Newcomers(
        user_ids=user_ids,
        user=user,
        item=catalogue.items.get_indexer(rows["item_id"].to_numpy(zero_copy_only=False)),
        at=at,
        weight=play_weight(played),
        habits=rows.select(list(HABITS)),
        profiles=_profiles(lake, batch, user_ids),
        picks=read_picks(lake, batch, catalogue, user_ids, first),
    )


def _who(lake: Lakehouse, batch: Batch, most: int, seed: int) -> np.ndarray:
    listens = lake.dataset("listens", batch)
    after = pc.field("played_at") >= batch.as_of
    later = pc.unique(listens.to_table(columns=["user_id"], filter=after)["user_id"])
    before = (pc.field("played_at") < batch.as_of) & pc.field("user_id").isin(later)
    heard = pc.unique(listens.to_table(columns=["user_id"], filter=before)["user_id"])
    embedded = lake.read("user_embeddings", batch, ["user_id", "status"])
    known = embedded.filter(pc.equal(embedded["status"], "established"))["user_id"]
    found = later.to_numpy(zero_copy_only=False)
    for side in (heard, known):
        found = np.setdiff1d(found, side.to_numpy(zero_copy_only=False))
    if not len(found):
        raise InputError(
            f"nobody's first play lies after batch {batch.batch_id}, which ends at "
            f"{batch.as_of:%Y-%m-%d %H:%M} UTC: build one with days held out (`tasteprint run "
            "--holdout-days`), from events in which somebody begins late"
        )
    return np.sort(np.random.default_rng(seed).permutation(found)[:most])


def _plays(
    lake: Lakehouse, batch: Batch, user_ids: np.ndarray
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Plays in order of user and time, those of one moment by their ids; users and times."""
    wanted = pc.field("user_id").isin(list(user_ids))
    columns = ["user_id", "event_id", "item_id", "played_at", "ms_played", *HABITS]
    rows = lake.dataset("listens", batch).to_table(columns=columns, filter=wanted)
    rows = rows.sort_by([(name, "ascending") for name in ("user_id", "played_at", "event_id")])
    user = pd.Index(user_ids).get_indexer(rows["user_id"].to_numpy(zero_copy_only=False))
    return rows, user.astype(np.int64), microseconds(rows["played_at"]).to_numpy()


def _profiles(lake: Lakehouse, batch: Batch, user_ids: np.ndarray) -> pa.Table:
    """What each user told, in order, with times in microseconds."""
    kinds = pa.schema([SCHEMA.field(name) for name in TOLD])
    if not batch.has("users"):
        return pa.table({field.name: pa.nulls(len(user_ids), field.type) for field in kinds})
    own = pc.field("user_id").isin(list(user_ids))
    rows = lake.dataset("users", batch).to_table(columns=["user_id", *TOLD], filter=own)
    rows = rows.set_column(1, "registered_at", microseconds(rows["registered_at"]))
    place = pc.index_in(pa.array(user_ids), rows["user_id"].combine_chunks())
    return rows.select(list(TOLD)).take(place).cast(kinds)
