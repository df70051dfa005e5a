"""Plays to co-occurrence counts, as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from models.cooccurrence import Line, near_pairs, nobody, unpacked
from models.events import play_weight

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import Column, DataFrame

FOLDS = 5
WHOLE = -1  # the "fold" that leaves nobody out
VARIANTS = (WHOLE, *range(FOLDS))
MINUTE = 60_000_000  # microseconds


def fold_of(user_id: str = "user_id") -> Column:
    """The fold of a user, 0 to FOLDS - 1, by hash."""
    return F.pmod(F.xxhash64(F.lit("fold"), F.col(user_id)), F.lit(FOLDS)).cast("int")


def neighbours(plays: DataFrame, gap_minutes: float, window: int, fading: float) -> DataFrame:
    """Pairs of different items played within ``window`` places of each other in one session.

    Two shuffles: plays by user, and then what each task has counted by pair. No row is one play's
    pair, and none is grouped by item alone, so neither long sessions nor hits make a task heavy.

    Args:
        plays: user_id, item (int), played_at, event_id, ms_played.
        gap_minutes: a silence that ends a session.
        window: places.
        fading: power of the distance by which a pair's count is divided.

    Returns:
        item, neighbour (int, the larger of the two), fold, count (long, thousandths of a pair).
    """
    numbers = plays.select(
        F.xxhash64("user_id").alias("user"),
        fold_of().alias("fold"),
        "item",
        F.unix_micros("played_at").alias("at"),
        F.col("ms_played").cast("double").alias("ms_played"),
        "event_id",
    )
    in_order = numbers.repartition("user").sortWithinPartitions("user", "at", "event_id")

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        before = nobody()
        for batch in batches:
            line = before.then(_line(batch))
            keys, counts = near_pairs(line, batch.num_rows, gap_minutes * MINUTE, window, fading)
            small, large, fold = unpacked(keys)
            columns = {"item": small, "neighbour": large, "fold": fold, "count": counts}
            yield pa.RecordBatch.from_pydict(columns)
            before = line.last(window)

    pairs = in_order.drop("event_id").mapInArrow(
        count, "item int, neighbour int, fold int, count long"
    )
    return pairs.groupBy("item", "neighbour", "fold").agg(F.sum("count").alias("count"))


def _line(batch: pa.RecordBatch) -> Line:
    return Line(
        user=batch["user"].to_numpy(),
        fold=batch["fold"].to_numpy().astype(int),
        item=batch["item"].to_numpy().astype(int),
        at=batch["at"].to_numpy(),
        weight=play_weight(batch["ms_played"].to_numpy(zero_copy_only=False)),
    )


def neighbourhoods(pairs: DataFrame) -> DataFrame:
    """Everything that was played near each item, in one row.

    Args:
        pairs: item, neighbour, fold, count, as of ``neighbours``: each pair once.

    Returns:
        item, neighbours array<int>, folds array<int>, counts array<float>, of equal lengths; counts
        in thousandths, of which mutual information takes no notice.
    """
    swapped = pairs.select(
        F.col("neighbour").alias("item"), F.col("item").alias("neighbour"), "fold", "count"
    )
    met = F.struct("neighbour", "fold", F.col("count").cast("float").alias("count"))
    return (
        pairs.unionByName(swapped)
        .groupBy("item")
        .agg(F.sort_array(F.collect_list(met)).alias("met"))  # the same sums whatever came first
        .select(
            "item",
            F.col("met.neighbour").alias("neighbours"),
            F.col("met.fold").alias("folds"),
            F.col("met.count").alias("counts"),
        )
    )
