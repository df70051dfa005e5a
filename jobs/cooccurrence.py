"""Plays to co-occurrence counts, as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from models.cooccurrence import Line, near_pairs, nobody
from models.events import DAY, play_weight

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pyspark.sql import Column

    from models.cooccurrence import Counting

FOLDS = 5
WHOLE = -1  # the "fold" that leaves nobody out
VARIANTS = (WHOLE, *range(FOLDS))
MINUTE = 60_000_000  # microseconds
SAMPLE = 16  # of so many users one is asked whether times tell sessions
FEWEST_ASKED = 10_000  # plays; of fewer than these all users are asked
FEWEST_TOGETHER = 0.1  # of the plays; with fewer near another, times do not tell sessions


def fold_of(user_id: str = "user_id") -> Column:
    """The fold of a user, 0 to FOLDS - 1, by hash."""
    return F.pmod(F.xxhash64(F.lit("fold"), F.col(user_id)), F.lit(FOLDS)).cast("int")


def item_key(item_id: str = "item_id") -> Column:
    """A number for an item that stays its own whatever the catalogue gains: a hash of its id.

    Of ten million items two share one with a chance of three in a million.
    """
    return F.xxhash64(item_id)


def neighbours(
    contexts: DataFrame, counting: Counting, days: Collection[int] | None = None
) -> DataFrame:
    """Pairs of different items played within a window of each other in one session.

    Two shuffles: plays by user, and then what each task has counted by pair. No row is one play's
    pair, and none is grouped by item alone, so neither long sessions nor hits make a task heavy.
    A pair belongs to the day of its later play.

    Args:
        contexts: as ``jobs.contexts`` gives them.
        counting: what counts.
        days: days since 1970 whose pairs are wanted; None for all.

    Returns:
        item, neighbour (long, as ``item_key``, the larger one second), fold, count (long,
        thousandths of a pair).
    """
    numbers = contexts.select(
        F.xxhash64("context").alias("user"),
        fold_of().alias("fold"),
        item_key().alias("item"),
        F.unix_micros("played_at").alias("at"),
        day_of(F.unix_micros("played_at")).alias("day"),
        F.col("ms_played").cast("double").alias("ms_played"),
        "event_id",
    )
    order = ("at", "event_id")
    rank = F.row_number().over(Window.partitionBy("user", "day").orderBy(*order))
    ranked = numbers.repartition("user").withColumn("rank", rank)
    counts = F.lit(True) if days is None else F.col("day").isin(*days)
    in_order = (
        ranked.where(F.col("rank") <= counting.most_a_day)
        .sortWithinPartitions("user", "day", *order)
        .select("user", "fold", "item", "at", "ms_played", counts.alias("counts"))
    )
    gap = np.inf if counting.gap_minutes is None else counting.gap_minutes * MINUTE
    window, fading = counting.window, counting.fading

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        before = nobody()
        for batch in batches:
            line = before.then(_line(batch))
            pairs = near_pairs(line, batch.num_rows, gap, window, fading)
            yield pa.RecordBatch.from_pydict(vars(pairs))
            before = line.last(window)

    pairs = in_order.mapInArrow(count, "item long, neighbour long, fold int, count long")
    return pairs.groupBy("item", "neighbour", "fold").agg(F.sum("count").alias("count"))


def gap_that_tells(plays: DataFrame, gap_minutes: float) -> float | None:
    """The gap between sessions, or None where times tell of none.

    Ratings, reviews and histories of which only the order is known lie days apart: neighbours are
    then looked for in a user's whole history.

    Args:
        plays: user_id, played_at.
        gap_minutes: what ends a session, where there are sessions.
    """
    slot = F.floor(F.unix_micros("played_at") / (gap_minutes * MINUTE))
    slots = plays.select(F.xxhash64("user_id").alias("user"), slot.alias("slot"))
    for asked in (slots.where(F.pmod("user", F.lit(SAMPLE)) == 0), slots):
        together = F.sum(F.when(F.col("count") > 1, F.col("count")))
        row = asked.groupBy("user", "slot").count().agg(F.sum("count"), together).first()
        told, near = (0, 0) if row is None else (row[0] or 0, row[1] or 0)
        if told >= FEWEST_ASKED:
            break
    return gap_minutes if near > FEWEST_TOGETHER * told else None


def day_of(micros: Column) -> Column:
    """Days since 1970 of microseconds since then."""
    return F.floor(micros / DAY).cast("int")


def _line(batch: pa.RecordBatch) -> Line:
    return Line(
        user=batch["user"].to_numpy(),
        fold=batch["fold"].to_numpy().astype(int),
        item=batch["item"].to_numpy(),
        at=batch["at"].to_numpy(),
        weight=play_weight(batch["ms_played"].to_numpy(zero_copy_only=False)),
        counts=batch["counts"].to_numpy(zero_copy_only=False),
    )


def neighbourhoods(pairs: DataFrame) -> DataFrame:
    """Everything that was played near each item, in one row.

    Args:
        pairs: item, neighbour, fold, count, as of ``neighbours``: each pair once.

    Returns:
        item, neighbours array<long>, folds array<int>, counts array<long>, of equal lengths.
    """
    swapped = pairs.select(
        F.col("neighbour").alias("item"), F.col("item").alias("neighbour"), "fold", "count"
    )
    met = F.struct("neighbour", "fold", "count")
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


def numbered(rows: DataFrame, index: DataFrame) -> DataFrame:
    """Neighbourhoods with the dense integers of a catalogue; what it lacks is left out.

    Args:
        rows: item_key, neighbours, folds, counts, as the contract has them.
        index: item_id, item (int).

    Returns:
        item int, neighbours array<int>, folds array<int>, counts array<float> in thousandths, of
        which mutual information takes no notice.
    """
    table = index.select(item_key().alias("key"), "item").orderBy("key").toArrow()
    shared = rows.sparkSession.sparkContext.broadcast(
        (table["key"].to_numpy(), table["item"].to_numpy())
    )

    def number(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys, items = shared.value

        def dense(values: np.ndarray) -> np.ndarray:
            place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
            return np.where(keys[place] == values, items[place], -1).astype(np.int32)

        for batch in batches:
            own = dense(batch["item_key"].to_numpy())
            flat = {
                "neighbours": dense(batch["neighbours"].flatten().to_numpy()),
                "folds": batch["folds"].flatten().to_numpy(),
                "counts": batch["counts"].flatten().to_numpy().astype(np.float32),
            }
            row = batch["neighbours"].value_parent_indices().to_numpy()
            known = flat["neighbours"] >= 0
            lengths = np.bincount(row[known], minlength=len(own))
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
            lists = {
                name: pa.ListArray.from_arrays(offsets, values[known])
                for name, values in flat.items()
            }
            found = pa.RecordBatch.from_pydict({"item": own, **lists})
            yield found.filter(pa.array(own >= 0))

    schema = "item int, neighbours array<int>, folds array<int>, counts array<float>"
    return rows.mapInArrow(number, schema)
