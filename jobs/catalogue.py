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
ITEM = "item"
BLOCKS = {
    CREATOR: "creator_id",
    "genre": "explode(genres)",
    "language": "language",
    ITEM: "item_id",
}
FEWEST_ITEMS = 5  # that a genre or language describes
FEWEST_PLAYS = 5  # of an item that is a context itself
# Both chosen on validation data (docs/quality.md). Of creators even one with one item helps.


@dataclass(frozen=True)
class Catalogue:
    """What describes each item; small enough to be held whole by every worker.

    Attributes:
        own: (items, contexts) float32, 1 where the context describes the item or is the item.
        block: (contexts,) int64, kind of each context.
        is_creator: (contexts,) bool.
        is_item: (contexts,) bool.
        support: (items, FOLDS) int64, plays of each item by users of each fold.
    """

    own: sparse.csr_matrix
    block: np.ndarray
    is_creator: np.ndarray
    is_item: np.ndarray
    support: np.ndarray

    @property
    def creator(self) -> np.ndarray:
        """Dense index of each item's creator, -1 where it has none among the contexts, (items,)."""
        owner = np.full(self.own.shape[0], -1, np.int64)
        known = self.own[:, self.is_creator].tocoo()
        owner[known.row] = known.col
        return owner

    def support_without(self, fold: int) -> np.ndarray:
        """Plays of each item without one fold's users, (items,) int64."""
        whole = self.support.sum(axis=1)
        return whole if fold == WHOLE else whole - self.support[:, fold]


def describe(index: DataFrame, plays: DataFrame, most: int) -> Catalogue:
    """Collect what describes the items: creators, genres, languages, and themselves if played.

    Args:
        index: item_id, item, creator_id, genres, language.
        plays: user_id, item.
        most: contexts to keep; the most played ones are.

    Raises:
        InputError: nothing in the catalogue was played.
    """
    items = index.count()
    words = _words(index)
    support = _support(plays, items)
    played = plays.groupBy("item").count()
    enough = (
        F.when(F.col("block") == CREATOR, True)
        .when(F.col("block") == ITEM, F.col("plays") >= FEWEST_PLAYS)
        .otherwise(F.col("items") >= FEWEST_ITEMS)
    )
    ranked = (
        words.join(played, on="item")
        .groupBy("block", "word")
        .agg(F.sum("count").alias("plays"), F.count("*").alias("items"))
        .where(enough)
        .orderBy(F.desc("plays"), "block", "word")
        .limit(most)
        .toArrow()
    )
    if not ranked.num_rows:
        raise InputError(
            "nothing that was played has a creator, a genre shared by "
            f"{FEWEST_ITEMS} items, or {FEWEST_PLAYS} plays: there is too little to learn from"
        )
    blocks = ranked["block"].to_pylist()
    kinds = sorted(set(blocks))
    return Catalogue(
        own=_own(words, ranked, items),
        block=np.array([kinds.index(name) for name in blocks]),
        is_creator=np.array([name == CREATOR for name in blocks]),
        is_item=np.array([name == ITEM for name in blocks]),
        support=support,
    )


def _words(index: DataFrame) -> DataFrame:
    """item, block, word: every creator, genre and language of every item, and its id."""
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
    own = sparse.csr_matrix((ones, where), shape=(items, ranked.num_rows))
    own.sort_indices()  # the same sums whatever came first
    return own
