"""The users nearest to a user; for people, told by what they play and not by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.metrics import highest
from models.features import unit
from schemas.arrow import matrix

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

AT_ONCE = 256  # rows of the matrix of cosines


def nearest_first(vectors: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The rows nearest to some of them by cosine, nearest first and equals by row, itself left out.

    Args:
        vectors: (N, d); a row of zeros is as near to one as to another.
        rows: (R,) int64, whose neighbours.
        count: of each; all others where there are no more.

    Returns:
        (R, min(count, N - 1)) int64.
    """
    units = unit(vectors)
    count = min(count, len(units) - 1)
    found = np.zeros((len(rows), count), np.int64)
    for first in range(0, len(rows) if count else 0, AT_ONCE):
        some = rows[first : first + AT_ONCE]
        cosines = units[some] @ units.T  # (AT_ONCE, N)
        cosines[np.arange(len(some)), some] = -np.inf
        found[first : first + AT_ONCE] = [highest(row, count) for row in cosines]
    return found


def nearest_users(lake: Lakehouse, batch: Batch, how_many: int, count: int) -> list[dict[str, Any]]:
    """Some of the most active users, what they play most, and the users nearest to them.

    Args:
        lake: the lakehouse.
        batch: has published ``user_embeddings``.
        how_many: users to show.
        count: neighbours of each.

    Returns:
        for each user: plays (what it plays most), neighbours (cosine, plays). No ids: metrics and
        report outlive a user who is forgotten.
    """
    embedded = lake.read("user_embeddings", batch, ["user_id", "embedding"])
    users = embedded["user_id"].to_pylist()
    vectors = unit(matrix(embedded["embedding"]))
    top = _favourites(lake, batch)
    place = {user: row for row, user in enumerate(users)}
    active = np.array([place[user] for user in top if user in place][:how_many], np.int64)
    return [
        {
            "plays": top[users[row]],
            "neighbours": [
                {
                    "cosine": float(vectors[row] @ vectors[other]),
                    "plays": top.get(users[other], "nothing yet"),
                }
                for other in others
            ],
        }
        for row, others in zip(active, nearest_first(vectors, active, count), strict=True)
    ]


def _favourites(lake: Lakehouse, batch: Batch) -> dict[str, str]:
    """The three creators each user plays most, by name, most active user first."""
    listens = _known(lake, batch)
    items = lake.read("items", batch, ["item_id", "creator_id", "creator_name"]).to_pandas()
    items["who"] = items["creator_name"].fillna(items["creator_id"]).fillna(items["item_id"])
    plays = listens.to_pandas().merge(items[["item_id", "who"]], on="item_id")
    counted = plays.groupby(["user_id", "who"]).size().rename("plays").reset_index()
    counted = counted.sort_values(["plays", "who"], ascending=[False, True])
    named = counted.groupby("user_id").head(3).groupby("user_id")["who"].agg(", ".join)
    order = counted.groupby("user_id")["plays"].sum().sort_values(ascending=False).index
    return {user: named[user] for user in order}


def _known(lake: Lakehouse, batch: Batch) -> pa.Table:
    import pyarrow.compute as pc

    listens = lake.dataset("listens", batch)
    return listens.to_table(
        columns=["user_id", "item_id"], filter=pc.field("played_at") < batch.as_of
    )
