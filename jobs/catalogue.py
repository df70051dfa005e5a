"""The catalogue as numbers: what describes each item, and how often it was played."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from jobs.cooccurrence import FOLDS, WHOLE, fold_of
from schemas.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

CREATOR = "creator"
BLOCKS = {CREATOR: "creator_id", "genre": "explode(genres)", "language": "language"}
FEWEST_ITEMS = 2  # that a context describes: with one, it says no more than the item itself


@dataclass(frozen=True)
class Catalogue:
    """What describes each item; small enough to be held whole by every worker.

    Attributes:
        own: (items, contexts) float32, 1 where the context describes the item.
        block: (contexts,) int64, kind of each context.
        is_creator: (contexts,) bool.
        support: (items, FOLDS) int64, plays of each item by users of each fold.
    """

    own: sparse.csr_matrix
    block: np.ndarray
    is_creator: np.ndarray
    support: np.ndarray

    def support_without(self, fold: int) -> np.ndarray:
        """Plays of each item without one fold's users, (items,) int64."""
        whole = self.support.sum(axis=1)
        return whole if fold == WHOLE else whole - self.support[:, fold]


def describe(index: DataFrame, plays: DataFrame, most: int) -> Catalogue:
    """Collect what describes the items: creators, genres, languages; without them, themselves.

    Args:
        index: item_id, item, creator_id, genres, language.
        plays: user_id, item.
        most: contexts to keep; the most played ones are.

    Raises:
        InputError: nothing in the catalogue was played.
    """
    items = index.count()
    words = _words(index)
    if words.isEmpty():  # nothing is known of the items: each is its neighbours' context
        words = index.select("item", F.lit("item").alias("block"), F.col("item_id").alias("word"))
        fewest = 1
    else:
        fewest = FEWEST_ITEMS
    support = _support(plays, items)
    played = plays.groupBy("item").count()
    ranked = (
        words.join(played, on="item", how="left")
        .groupBy("block", "word")
        .agg(F.sum("count").alias("plays"), F.count("*").alias("items"))
        .where((F.col("plays") > 0) & (F.col("items") >= fewest))
        .orderBy(F.desc("plays"), "block", "word")
        .limit(most)
        .toArrow()
    )
    if not ranked.num_rows:
        raise InputError("nothing that was played is in the catalogue: there is nothing to count")
    own = _own(words, ranked, items)
    blocks = ranked["block"].to_pylist()
    kinds = sorted(set(blocks))
    return Catalogue(
        own=own,
        block=np.array([kinds.index(name) for name in blocks]),
        is_creator=np.array([name == CREATOR for name in blocks]),
        support=support,
    )


def _words(index: DataFrame) -> DataFrame:
    """item, block, word: every creator, genre and language of every item."""
    parts = [
        index.select("item", F.lit(block).alias("block"), F.expr(column).alias("word"))
        for block, column in BLOCKS.items()
    ]
    return reduce(DataFrame.unionByName, parts).where("word IS NOT NULL").distinct()


def _support(plays: DataFrame, items: int) -> np.ndarray:
    counted = plays.groupBy("item", fold_of().alias("fold")).count().toArrow()
    support = np.zeros((items, FOLDS), np.int64)
    support[counted["item"].to_numpy(), counted["fold"].to_numpy()] = counted["count"].to_numpy()
    return support


def _own(words: DataFrame, ranked: pa.Table, items: int) -> sparse.csr_matrix:
    spark = words.sparkSession
    names = ranked.select(["block", "word"]).to_pandas()
    names["context"] = np.arange(len(names), dtype=np.int32)
    numbered = F.broadcast(spark.createDataFrame(names))
    cells = words.join(numbered, on=["block", "word"]).select("item", "context").toArrow()
    ones = np.ones(cells.num_rows, np.float32)
    where = (cells["item"].to_numpy(), cells["context"].to_numpy())
    return sparse.csr_matrix((ones, where), shape=(items, ranked.num_rows))
