"""Who belongs together: users who share a favourite, a country, or a pick of their first minutes.

===============================  ===================================================================
favourite creator                whom a user had played most by ``as_of``; equals by id
favourite creator in days after  whom it plays most within the horizon, which no vector has seen
main genre                       of what it had played by ``as_of``; a play counts for each genre
country                          the user's own, as told at registration
onboarding                       any pick before ``as_of``: a user shares with several groups
===============================  ===================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from evaluation.cohort import read_plays

if TYPE_CHECKING:
    from evaluation.cohort import Cohort
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

CREATOR, CREATOR_AFTER = "favourite creator", "favourite creator in the days after"
GENRE, COUNTRY, ONBOARDING = "main genre", "country", "onboarding"
KINDS = (CREATOR, CREATOR_AFTER, GENRE, COUNTRY, ONBOARDING)


@dataclass(frozen=True)
class Clusters:
    """Who shares something with whom, in one sense.

    Attributes:
        kind: one of ``KINDS``.
        members: (U, K) float32 of 0 and 1: users and what they can share.
    """

    kind: str
    members: sparse.csr_array

    def shared(self, rows: np.ndarray) -> np.ndarray:
        """Which of all users share something with each of some, itself left out.

        Args:
            rows: (R,) int64.

        Returns:
            (R, U) bool.
        """
        both: Any = self.members[rows] @ self.members.T
        found = both.toarray() > 0
        found[np.arange(len(rows)), rows] = False
        return found

    def asked(self) -> np.ndarray:
        """Users who share something with anybody, ascending rows."""
        size = np.asarray(self.members.sum(axis=0))  # (K,)
        return np.flatnonzero(self.members @ (size > 1) > 0)


def read_clusters(
    lake: Lakehouse, batch: Batch, cohort: Cohort, horizon_days: float
) -> list[Clusters]:
    """All clusters in which the data puts any two users together, in order of ``KINDS``."""
    users = pd.Index(cohort.user_ids)
    plays = _described(lake, batch, read_plays(lake, batch, horizon_days, users))
    before, after = plays[~plays["later"]], plays[plays["later"]]
    told = {
        CREATOR: favourite(before, "creator_id"),
        CREATOR_AFTER: favourite(after, "creator_id"),
        GENRE: favourite(before.explode("genres"), "genres"),
        COUNTRY: _countries(lake, batch, users),
        ONBOARDING: _picks(lake, batch, users),
    }
    found = [Clusters(kind, _members(of, len(users))) for kind, of in told.items()]
    return [clusters for clusters in found if len(clusters.asked())]


def favourite(plays: pd.DataFrame, name: str) -> pd.Series:
    """What each user played most, by user; equals by name, and nobody without any.

    Args:
        plays: user, plays (how many), and the column of names; rows without a name do not count.
        name: that column.
    """
    counted = plays.dropna(subset=[name]).groupby(["user", name])["plays"].sum().reset_index()
    counted = counted.sort_values(["plays", name], ascending=[False, True])
    return counted.drop_duplicates("user").set_index("user")[name]


def _described(lake: Lakehouse, batch: Batch, plays: pd.DataFrame) -> pd.DataFrame:
    """user, later, plays, creator_id and genres, a row for each user and item."""
    items = lake.read("items", batch, ["item_id", "creator_id", "genres"]).to_pandas()
    counted = plays.groupby(["user", "item_id", "later"]).size().rename("plays").reset_index()
    return counted.merge(items, on="item_id")


def _countries(lake: Lakehouse, batch: Batch, users: pd.Index) -> pd.Series:
    if not batch.has("users"):
        return pd.Series(dtype=object)
    told = lake.read("users", batch, ["user_id", "country"]).to_pandas().dropna()
    return told.set_index(users.get_indexer(told["user_id"]))["country"]


def _picks(lake: Lakehouse, batch: Batch, users: pd.Index) -> pd.Series:
    """Items and creators that were picked before ``as_of``, a row for each pick."""
    if not batch.has("onboarding"):
        return pd.Series(dtype=object)
    columns = ["user_id", "picked_id", "picked_kind", "picked_at"]
    told = lake.read("onboarding", batch, columns).to_pandas()
    told = told[told["picked_at"] < batch.as_of]
    name = told["picked_kind"] + "=" + told["picked_id"]
    return name.set_axis(users.get_indexer(told["user_id"]))


def _members(told: pd.Series, users: int) -> Any:
    """Names by user as columns of 0 and 1, (users, names); -1 is a user of no interest."""
    told = told[told.index >= 0]
    code, names = pd.factorize(told)
    cells = (np.ones(len(told), np.float32), (told.index.to_numpy(np.int64), code))
    found: Any = sparse.csr_array(cells, shape=(users, len(names)))
    found.data[:] = 1  # who told a thing twice shares it once
    return found
