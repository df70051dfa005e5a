"""Every item that has a vector, whose it is, and how often it was played before ``as_of``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from schemas.arrow import matrix

if TYPE_CHECKING:
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

MOST_COUNTRIES = 100  # that have a popularity of their own, commonest first


@dataclass(frozen=True)
class Catalogue:
    """The items of a batch.

    Attributes:
        items: (I,) ids, rows of ``track_vectors``.
        creators: (C,) ids, of the creators of these items.
        vectors: (I, VECTOR_SIZE) float32.
        creator_of_item: (I,) int64, row of ``creators``; -1 where unknown.
        plays: (I,) float64, how often each was played before ``as_of``, by anybody.
    """

    items: pd.Index
    creators: pd.Index
    vectors: np.ndarray
    creator_of_item: np.ndarray
    plays: np.ndarray


def read_catalogue(lake: Lakehouse, batch: Batch) -> Catalogue:
    """Read the items, and count the plays of all users."""
    items, vectors = item_vectors(lake, batch)
    told = lake.read("items", batch, ["item_id", "creator_id"]).to_pandas()
    creator_of = told.drop_duplicates("item_id").set_index("item_id")["creator_id"]
    codes, creators = pd.factorize(creator_of.reindex(items), sort=True)
    plays = _played_before(lake, batch, items, None, 1)[:, 0]
    return Catalogue(items, pd.Index(creators), vectors, codes.astype(np.int64), plays)


def item_vectors(lake: Lakehouse, batch: Batch) -> tuple[pd.Index, np.ndarray]:
    """The ids and vectors of all items that have one, (I,) str and (I, VECTOR_SIZE) float32."""
    rows = lake.read("track_vectors", batch, ["item_id", "vector"])
    items = pd.Index(rows["item_id"].to_numpy(zero_copy_only=False))
    return items, matrix(rows["vector"]).copy()  # Arrow's own is read-only, which PyTorch minds


@dataclass(frozen=True)
class ByCountry:
    """How often users of each country played each item before ``as_of``.

    Attributes:
        group: (U,) int64, column of each newcomer; 0, everybody's, where it told no country that
            has a column of its own.
        plays: (I, G) float64.
    """

    group: np.ndarray
    plays: np.ndarray


def plays_by_country(
    lake: Lakehouse, batch: Batch, catalogue: Catalogue, told: np.ndarray
) -> ByCountry | None:
    """Count plays within the countries that newcomers told; None where nobody told any.

    Args:
        lake: the lakehouse.
        batch: whose users and plays are counted.
        catalogue: its items.
        told: (U,) str or None, countries of the newcomers.
    """
    countries = pd.Index(pd.Series(told).value_counts().index[:MOST_COUNTRIES])
    if not len(countries):
        return None
    users = lake.read("users", batch, ["user_id", "country"]).to_pandas()
    users = users[users["country"].isin(countries)].drop_duplicates("user_id")
    country_of = pd.Series(countries.get_indexer(users["country"]), users["user_id"])
    within = _played_before(lake, batch, catalogue.items, country_of, len(countries))
    plays = np.concatenate([catalogue.plays[:, None], within], axis=1)  # (I, 1 + countries)
    return ByCountry(countries.get_indexer(pd.Index(told)) + 1, plays)


def _played_before(
    lake: Lakehouse, batch: Batch, items: pd.Index, group_of: pd.Series | None, groups: int
) -> np.ndarray:
    """How often each item was played before ``as_of``, (I, groups) float64, a piece at a time.

    Args:
        lake: the lakehouse.
        batch: whose plays.
        items: ids of the rows.
        group_of: by user id the column of its plays; others count nowhere. None for one column.
        groups: how many columns there are.
    """
    counts = np.zeros((len(items), groups))
    happened = pc.field("played_at") < batch.as_of
    columns = ["item_id"] if group_of is None else ["item_id", "user_id"]
    for rows in lake.dataset("listens", batch).to_batches(columns=columns, filter=happened):
        item = items.get_indexer(rows["item_id"].to_numpy(zero_copy_only=False))
        group = np.zeros(len(item), np.int64)
        if group_of is not None:
            place = group_of.index.get_indexer(rows["user_id"].to_numpy(zero_copy_only=False))
            group = np.append(group_of.to_numpy(), -1)[place]
        counted = (item >= 0) & (group >= 0)
        np.add.at(counts, (item[counted], group[counted]), 1)
    return counts
