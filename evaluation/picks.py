"""What newcomers picked at onboarding, and what stands in for it where nobody was asked.

Data sets of plays seldom tell what people picked when they came. For such data the favourite
creators of a newcomer's *later* plays stand in: later than every play that any question is about,
and hidden otherwise, neither history nor answer. So a stand-in holds no play that is asked about;
it tells which creators the user likes, which is what onboarding asks. It is kinder than onboarding
all the same: a creator who was met in the first hours, and stayed, is among these favourites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.picks import favourites
from schemas.arrow import microseconds

if TYPE_CHECKING:
    from evaluation.catalogue import Catalogue
    from evaluation.newcomers import Newcomers
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

NAMES = ("picked_at", "picked_item", "picked_creator")


@dataclass(frozen=True)
class Picks:
    """Picks of some users, each before the user's first play; arrays (N,) but for the last.

    Attributes:
        user: int64, ascending.
        at: int64 microseconds.
        item, creator: int64, rows of the catalogue; -1 where it is of the other kind.
        completed: (U,) bool, who went through the whole of onboarding.
    """

    user: np.ndarray
    at: np.ndarray
    item: np.ndarray
    creator: np.ndarray
    completed: np.ndarray

    def columns(self) -> dict[str, pa.ListArray]:
        """The columns of ``models.profiles.SCHEMA``, a list for each user."""
        ends = np.searchsorted(self.user, np.arange(len(self.completed) + 1)).astype(np.int32)
        parts = (self.at, self.item, self.creator)
        return {
            name: pa.ListArray.from_arrays(pa.array(ends), pa.array(values))
            for name, values in zip(NAMES, parts, strict=True)
        }


def read_picks(
    lake: Lakehouse, batch: Batch, catalogue: Catalogue, user_ids: np.ndarray, first: np.ndarray
) -> Picks:
    """Read what users picked before their first play, as far as it has a vector.

    Args:
        lake: the lakehouse.
        batch: whose ``onboarding`` is read, if it has one.
        catalogue: its items.
        user_ids: (U,) str.
        first: (U,) int64 microseconds, everybody's first play.
    """
    none = np.zeros(0, np.int64)
    if not batch.has("onboarding"):
        return Picks(none, none, none, none, np.zeros(len(user_ids), bool))
    own = pc.field("user_id").isin(list(user_ids))
    rows = lake.dataset("onboarding", batch).to_table(filter=own)
    at = microseconds(rows["picked_at"]).to_numpy()
    user = pd.Index(user_ids).get_indexer(rows["user_id"].to_numpy(zero_copy_only=False))
    ids = pd.Index(rows["picked_id"].to_numpy(zero_copy_only=False))
    of_item = pc.equal(rows["picked_kind"], "item").to_numpy()
    item = np.where(of_item, catalogue.items.get_indexer(ids), -1)
    creator = np.where(of_item, -1, catalogue.creators.get_indexer(ids))
    known = (at < first[user]) & (np.maximum(item, creator) >= 0)
    order = np.lexsort((creator, item, at, user))
    order = order[known[order]]
    completed = np.zeros(len(user_ids), bool)
    completed[user[order]] = True
    gave_up = pc.equal(rows["completed"], False).fill_null(False).to_numpy()
    completed[user[gave_up]] = False
    return Picks(user[order], at[order], item[order], creator[order], completed)


def stand_ins(people: Newcomers, catalogue: Catalogue, end: np.ndarray) -> Picks:
    """The favourite creators of each user's later plays, as if picked just before the first.

    Args:
        people: the newcomers.
        catalogue: the items.
        end: (U,) int64, the first play of each user that nothing is asked about.
    """
    later = np.arange(len(people.user)) >= end[people.user]
    creator = np.append(catalogue.creator_of_item, -1)[people.item]
    user, creator = favourites(people.user[later], creator[later])
    completed = np.zeros(len(people.user_ids), bool)
    completed[user] = True
    return Picks(user, people.first[user] - 1, np.full(len(user), -1), creator, completed)
