"""Nearest neighbours that a person can read: listeners are told by what they play, not by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.arrow import matrix

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


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
    vectors = matrix(embedded["embedding"])
    top = _favourites(lake, batch)
    active = [user for user in top if user in set(users)][:how_many]
    shown = []
    for user in active:
        score = vectors @ vectors[users.index(user)]
        order = [row for row in np.argsort(-score) if users[row] != user][:count]
        shown.append(
            {
                "plays": top[user],
                "neighbours": [
                    {"cosine": float(score[row]), "plays": top.get(users[row], "nothing yet")}
                    for row in order
                ],
            }
        )
    return shown


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
