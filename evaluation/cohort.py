"""The users of a batch whom a protocol asks, and all that was known of them at ``as_of``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from scipy import sparse

from evaluation.catalogue import item_vectors
from evaluation.pairs import Question
from models.baselines.interactions import Interactions
from schemas.arrow import microseconds
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

MOST_TAGS = 20_000  # commonest creators and genres
TOLD = ("country", "language", "subscription")


@dataclass(frozen=True)
class Cohort:
    """Some users with a history, every item that has a vector, and what was played when.

    Attributes:
        user_ids: (U,) str, of the users.
        item_ids: (I,) str, rows of ``track_vectors``.
        vectors: (I, VECTOR_SIZE) float32.
        past: plays before ``as_of``, and tags of users and items.
        future: for each user the items played within the horizon, distinct; often none.
    """

    user_ids: np.ndarray
    item_ids: np.ndarray
    vectors: np.ndarray
    past: Interactions
    future: Sequence[np.ndarray]

    @property
    def plays(self) -> np.ndarray:
        """How often each item was played before ``as_of``, (I,) float64."""
        return np.bincount(self.past.item, minlength=self.past.items).astype(float)

    def question(self, drawn: str) -> tuple[np.ndarray, Question]:
        """The users who play later, as rows of the cohort, and what they are asked.

        Args:
            drawn: how negatives are: ``popularity``, in proportion to plays before ``as_of``;
                ``uniform``, all alike; ``upcoming``, in proportion to what is played within the
                horizon. The first two ask about items that somebody had played by then.
        """
        known = self.plays > 0
        if drawn == "upcoming":
            later = np.concatenate([*self.future, []]).astype(np.int64)
            weight = np.bincount(later, minlength=len(known)).astype(float)
            positives = list(self.future)
        else:
            weight = self.plays if drawn == "popularity" else known.astype(float)
            positives = [own[known[own]] for own in self.future]
        asked = np.flatnonzero([len(own) > 0 for own in positives])
        bounds = np.searchsorted(self.past.user, np.arange(self.past.users + 1))
        excluded = [
            np.union1d(self.past.item[bounds[row] : bounds[row + 1]], self.future[row])
            for row in asked.tolist()
        ]
        return asked, Question([positives[row] for row in asked.tolist()], excluded, weight)


def read_cohort(
    lake: Lakehouse,
    batch: Batch,
    horizon_days: float,
    most: int,
    seed: int,
    *,
    must_play: bool = True,
) -> Cohort:
    """Read the plays of at most so many users with a history, first of all of those who play later.

    Args:
        lake: the lakehouse.
        batch: whose users and items.
        horizon_days: days after ``as_of`` that count as later.
        most: users.
        seed: of the choice among more.
        must_play: whether it is an error if nobody plays later.

    Raises:
        InputError: nobody whom the batch knows plays later.
    """
    items, vectors = item_vectors(lake, batch)
    users = pd.Index(_some_users(lake, batch, horizon_days, most, seed, must_play=must_play))
    plays = _plays(read_plays(lake, batch, horizon_days, users), items)
    before = plays[~plays["later"]]
    later = plays[plays["later"]].groupby("user")["item"].unique()
    nothing = np.zeros(0, np.int64)
    past = Interactions(
        user=before["user"].to_numpy(np.int64),
        item=before["item"].to_numpy(np.int64),
        at=before["at"].to_numpy(np.int64),
        users=len(users),
        items=len(items),
        user_tags=_user_tags(lake, batch, users),
        item_tags=_item_tags(lake, batch, items),
    )
    future = [later.get(row, nothing) for row in range(len(users))]
    return Cohort(users.to_numpy(), items.to_numpy(), vectors, past, future)


def read_plays(lake: Lakehouse, batch: Batch, horizon_days: float, users: pd.Index) -> pd.DataFrame:
    """What some users played up to the horizon.

    Returns:
        user (row number), item_id, at (microseconds since 1970), later (not before ``as_of``).
    """
    end = batch.as_of + timedelta(days=horizon_days)
    wanted = (pc.field("played_at") < end) & pc.field("user_id").isin(list(users))
    columns = ["user_id", "item_id", "played_at"]
    rows = lake.dataset("listens", batch).to_table(columns=columns, filter=wanted)
    at = microseconds(rows["played_at"]).to_numpy()
    return pd.DataFrame(
        {
            "user": users.get_indexer(rows["user_id"].to_numpy(zero_copy_only=False)),
            "item_id": rows["item_id"].to_numpy(zero_copy_only=False),
            "at": at,
            "later": at >= round(batch.as_of.timestamp() * 1e6),
        }
    )


def _some_users(
    lake: Lakehouse, batch: Batch, horizon_days: float, most: int, seed: int, *, must_play: bool
) -> np.ndarray:
    embedded = lake.read("user_embeddings", batch, ["user_id", "status"])
    heard = embedded.filter(pc.equal(embedded["status"], "established"))["user_id"]
    end = batch.as_of + timedelta(days=horizon_days)
    within = (pc.field("played_at") >= batch.as_of) & (pc.field("played_at") < end)
    after = lake.dataset("listens", batch).to_table(columns=["user_id"], filter=within)
    known = heard.to_numpy(zero_copy_only=False)
    active = np.intersect1d(pc.unique(after["user_id"]).to_numpy(zero_copy_only=False), known)
    if must_play and not len(active):
        raise InputError(
            f"nobody whom batch {batch.batch_id} knows plays anything in the {horizon_days:g} days "
            f"after {batch.as_of:%Y-%m-%d %H:%M} UTC: build a batch with days held out "
            "(`tasteprint run --holdout-days`)"
        )
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(known, active)
    order = np.concatenate([rng.permutation(active), rng.permutation(others)])
    return np.sort(order[:most])


def _plays(played: pd.DataFrame, items: pd.Index) -> pd.DataFrame:
    """user, item, at and later, of items that have vectors, in order of user and time."""
    frame = played.assign(item=items.get_indexer(pd.Index(played["item_id"]))).drop(
        columns="item_id"
    )
    return frame[frame["item"] >= 0].sort_values(["user", "at"], kind="stable")


def _user_tags(lake: Lakehouse, batch: Batch, users: pd.Index) -> sparse.csr_array:
    if not batch.has("users"):
        return sparse.csr_array(np.zeros((len(users), 0), np.float32))
    rows = lake.read("users", batch, ["user_id", *TOLD]).to_pandas()
    place = users.get_indexer(rows["user_id"])
    told = [(place, name + "=" + rows[name].astype("string")) for name in TOLD]
    return _tags(told, len(users))


def _item_tags(lake: Lakehouse, batch: Batch, items: pd.Index) -> sparse.csr_array:
    rows = lake.read("items", batch, ["item_id", "creator_id", "genres"]).to_pandas()
    place = items.get_indexer(rows["item_id"])
    genres = rows["genres"].explode()
    told = [
        (place, "creator=" + rows["creator_id"].astype("string")),
        (place[genres.index.to_numpy()], "genre=" + genres.astype("string")),
    ]
    return _tags(told, len(items))


def _tags(told: Sequence[tuple[np.ndarray, Any]], rows: int) -> Any:
    """The commonest words as columns of 0 and 1, (rows, tags) float32."""
    place = np.concatenate([where for where, _ in told])
    word = pd.concat([words for _, words in told], ignore_index=True)
    known = word.notna().to_numpy() & (place >= 0)
    place, word = place[known], word[known]
    common = pd.Index(word.value_counts().index[:MOST_TAGS])
    column = common.get_indexer(pd.Index(word))
    kept = column >= 0
    ones = np.ones(int(kept.sum()), np.float32)
    cells = (place[kept], column[kept])
    summed: Any = sparse.coo_array((ones, cells), shape=(rows, len(common)))
    found: Any = sparse.csr_array(summed)
    found.data[:] = 1  # a tag that is told twice counts once
    return found
