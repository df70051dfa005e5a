"""Plays to co-occurrence counts, as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F
from pyspark.sql.window import Window

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

FOLDS = 5
WHOLE = -1  # the "fold" that leaves nobody out
VARIANTS = (WHOLE, *range(FOLDS))


def fold_of(user_id: str = "user_id") -> Column:
    """The fold of a user, 0 to FOLDS - 1, by hash."""
    return F.pmod(F.xxhash64(F.lit("fold"), F.col(user_id)), F.lit(FOLDS)).cast("int")


def neighbours(plays: DataFrame, gap_minutes: float, window: int) -> DataFrame:
    """Pairs of different items played within ``window`` places of each other in one session.

    One shuffle, by user; a session of n plays gives at most n · window pairs, never n².

    Args:
        plays: user_id, item (int), played_at, event_id.
        gap_minutes: a silence that ends a session.
        window: places.

    Returns:
        item, neighbour (int), fold; each pair in both directions.
    """
    by_user = Window.partitionBy("user_id").orderBy("played_at", "event_id")
    silence = F.col("played_at").cast("double") - F.lag(F.col("played_at").cast("double")).over(
        by_user
    )
    opens = F.coalesce((silence > gap_minutes * 60).cast("int"), F.lit(0))
    numbered = plays.withColumn("session", F.sum(opens).over(by_user))
    later = [
        F.struct(
            F.lead("item", d).over(by_user).alias("item"),
            F.lead("session", d).over(by_user).alias("session"),
        )
        for d in range(1, window + 1)
    ]
    pairs = (
        numbered.withColumn("later", F.array(*later))
        .select("user_id", "item", "session", F.explode("later").alias("next"))
        .where((F.col("next.session") == F.col("session")) & (F.col("next.item") != F.col("item")))
        .select("item", F.col("next.item").alias("neighbour"), fold_of().alias("fold"))
    )
    swapped = pairs.select(
        F.col("neighbour").alias("item"), F.col("item").alias("neighbour"), "fold"
    )
    return pairs.unionByName(swapped)


def neighbourhoods(pairs: DataFrame) -> DataFrame:
    """Everything that was played near each item, in one row.

    Args:
        pairs: item, neighbour, fold.

    Returns:
        item, neighbours array<int>, folds array<int>, counts array<float>, of equal lengths.
    """
    counted = pairs.groupBy("item", "neighbour", "fold").count()
    met = F.struct("neighbour", "fold", F.col("count").cast("float").alias("count"))
    return (
        counted.groupBy("item")
        .agg(F.collect_list(met).alias("met"))
        .select(
            "item",
            F.col("met.neighbour").alias("neighbours"),
            F.col("met.fold").alias("folds"),
            F.col("met.count").alias("counts"),
        )
    )
