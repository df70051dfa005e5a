"""What users play together, packed for training; item vectors trained on it, shard by shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F

from jobs.tables import known_listens, read
from models.context_training import Contexts, ItemModel, average, train
from schemas.arrow import blob, unblob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.context_training import ContextTrainingConfig

BLOCK_ROWS = 65_536  # of what is learned, that are averaged together: 20 MB a shard


def known_contexts(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame:
    """Everything that belongs together: what a user played, and what stands in a playlist.

    Returns:
        context, user_id (whose fold counts), item_id, played_at, event_id, ms_played.
    """
    contexts = of_listens(known_listens(spark, lake, batch))
    playlists = of_playlists(spark, lake, batch)
    return contexts if playlists is None else contexts.unionByName(playlists)


def of_listens(listens: DataFrame) -> DataFrame:
    """Plays, each in the context of its user."""
    context = F.col("user_id").alias("context")
    return listens.select(context, "user_id", "item_id", "played_at", "event_id", "ms_played")


def of_playlists(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame | None:
    """Entries of playlists as if each was played once, a second after the one before it.

    A playlist is left out with its owner's fold; one without an owner has a fold of its own.
    None for a batch that was opened before there were playlists.
    """
    if "playlists" not in batch.parents:
        return None
    entries = read(spark, lake, "playlists", batch).where(F.col("added_at") < batch.as_of)
    context = F.concat(F.lit("playlist "), "playlist_id")
    return entries.select(
        context.alias("context"),
        F.coalesce("user_id", context).alias("user_id"),
        "item_id",
        F.timestamp_seconds("position").alias("played_at"),
        F.lit("").alias("event_id"),
        F.lit(None).cast("long").alias("ms_played"),
    )


def packed(plays: DataFrame, shards: int) -> DataFrame:
    """The plays of every context, side by side, one row per shard: four bytes a play.

    One shuffle, of two numbers per play. A context is whole in one shard, and nothing is grouped by
    item, so a hit is no heavier than any other track.

    Args:
        plays: context, item (int).
        shards: number of shards.

    Returns:
        shard, items binary (int32), lengths binary (int64).
    """
    keyed = plays.select(F.xxhash64("context").alias("user"), "item")
    lined_up = keyed.repartition(shards, "user").sortWithinPartitions("user", "item")

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        users, items = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for batch in batches:
            users.append(batch["user"].to_numpy())
            items.append(batch["item"].to_numpy())
        user = np.concatenate(users)
        if not len(user):
            return
        first = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
        lengths = np.diff(np.append(first, len(user)))
        columns = {
            "items": blob(np.concatenate(items)),
            "lengths": blob(lengths.astype(np.int64)),
        }
        yield pa.RecordBatch.from_pydict(columns)

    rows = lined_up.mapInArrow(pack, "items binary, lengths binary")
    return rows.select(F.spark_partition_id().alias("shard"), "*")


def sharpened(
    plays: DataFrame,
    model: ItemModel,
    support: np.ndarray,
    config: ContextTrainingConfig,
    seed: int,
) -> ItemModel:
    """Train item vectors on what users play together.

    Each round sends every worker what was learned, trains all shards from there at the same time,
    and brings back their average. What travels is as large as the vectors, whatever was played.

    Args:
        plays: context, item (int).
        model: where to begin.
        support: (N,) plays of each item.
        config: how.
        seed: of every random number; the result is the same on any number of cores.
    """
    steps = config.steps(int((support > 0).sum()), int(support.sum()))
    if not steps:
        return model
    shards = config.shards(steps)
    ready = packed(plays, shards).persist(StorageLevel.DISK_ONLY)
    still = plays.sparkSession.sparkContext.broadcast((model.start, model.creator))
    learned = model.learned
    falling = config.learning_rate * np.linspace(1, 0, max(1, steps // shards), endpoint=False)
    for number, rates in enumerate(np.array_split(falling, config.rounds)):
        learned = _round(ready, still, learned, rates, config, [seed, number])
        print(f"vectors: round {number + 1:,} of {config.rounds:,}", flush=True)  # noqa: T201
    ready.unpersist()
    still.unpersist()
    return ItemModel(model.start, model.creator, learned)


def _round(
    ready: DataFrame,
    still: Broadcast[tuple[np.ndarray, np.ndarray]],
    learned: np.ndarray,
    rates: np.ndarray,
    config: ContextTrainingConfig,
    seed: list[int],
) -> np.ndarray:
    """What was learned after so many more steps of every shard, averaged."""
    moving = ready.sparkSession.sparkContext.broadcast(learned)
    run = _trained(still, moving, rates, config, seed)
    parts = ready.mapInArrow(run, "shard int, block int, learned binary, met binary")
    width = learned.shape[1]

    def averaged(part: pa.Table) -> pa.Table:
        rows = part.sort_by("shard").to_pylist()
        pairs = ((unblob(row["learned"], (-1, width)), unblob(row["met"])) for row in rows)
        columns = {"block": [rows[0]["block"]], "learned": blob(average(pairs))}
        return pa.table(columns, schema=pa.schema({"block": pa.int32(), "learned": pa.binary()}))

    blocks = parts.groupBy("block").applyInArrow(averaged, "block int, learned binary")
    rows = sorted(blocks.collect())
    moving.unpersist()
    return np.concatenate([unblob(row["learned"], (-1, width)) for row in rows])


def _trained(
    still: Broadcast[tuple[np.ndarray, np.ndarray]],
    moving: Broadcast[np.ndarray],
    rates: np.ndarray,
    config: ContextTrainingConfig,
    seed: list[int],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Train every shard of a partition, and cut what it has learned into blocks."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        torch.set_num_threads(1)  # as many tasks as cores run at once
        model = ItemModel(*still.value, moving.value)
        for batch in batches:
            for row in batch.to_pylist():
                items = unblob(row["items"], dtype=np.int32).astype(np.int64)
                contexts = Contexts(items, unblob(row["lengths"], dtype=np.int64))
                rng = np.random.default_rng([*seed, row["shard"]])
                learned, met = train(model, contexts, rates, config, rng)
                for block, first in enumerate(range(0, len(learned), BLOCK_ROWS)):
                    part = slice(first, first + BLOCK_ROWS)
                    columns = {
                        "shard": pa.array([row["shard"]], pa.int32()),
                        "block": pa.array([block], pa.int32()),
                        "learned": blob(learned[part]),
                        "met": blob(met[part]),
                    }
                    yield pa.RecordBatch.from_pydict(columns)

    return run
