"""A refresh reads the plays of those who have new ones; all other rows go on from where they are.

Who has new ones is exact: the users of a play that is known now and was not at the moment before,
or that lies in a Parquet file which only one of the two versions of ``listens`` has. All others
have the same known plays as before, so their rows follow from their rows
(``FeatureBuilder.later``) and from what they have told us, which is read for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.blocks import TOLD, TOUCHED
from jobs.tables import known_at, read
from lakehouse.storage import Lakehouse
from models.events import NEVER, Histories, Rows
from models.layout import HALF_LIVES
from schemas.arrow import matrix
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batch import Batch

SAME = ("buckets", "sequence_length")  # settings without which the rows before are others
TABLES = ("user_features", "user_sequences")


@dataclass(frozen=True)
class Before:
    """Rows of one bucket that are carried on.

    Attributes:
        users: (K,) their ids.
        rows: as they were.
        sequences: of those who have played, as they were but for ``as_of``.
    """

    users: pa.Array
    rows: Rows
    sequences: pa.Table


@dataclass(frozen=True)
class Carried:
    """Where the rows before are.

    Attributes:
        lakehouse: its URI.
        batch: the batch as it was before the refresh.
    """

    lakehouse: str
    batch: Batch

    def open(self, bucket: int, blocks: Mapping[str, pa.Table]) -> Before:
        """Read the rows of a bucket that are carried on.

        Args:
            bucket: its number.
            blocks: ids of those whose plays have changed and of those who have told anything.
        """
        rows, sequences = (self._rows(table, bucket) for table in TABLES)
        changed = _is_in(rows["user_id"], blocks.get(TOUCHED))
        played = pc.greater(pc.list_value_length(rows["played_between"]), 0)
        there = pc.or_(played, _is_in(rows["user_id"], blocks.get(TOLD)))
        rows = rows.filter(pc.and_not(there, changed)).combine_chunks()
        same = pc.invert(_is_in(sequences["user_id"], blocks.get(TOUCHED)))
        users = pa.chunked_array(rows["user_id"]).combine_chunks()
        return Before(users, _as_rows(rows), sequences.filter(same))

    def _rows(self, table: str, bucket: int) -> pa.Table:
        names = set(contract(table).column_names) - {"batch_id", "bucket", "as_of"}
        stored = Lakehouse(self.lakehouse).dataset(table, self.batch)
        return stored.to_table(columns=sorted(names), filter=pc.field("bucket") == bucket)


def _is_in(ids: pa.ChunkedArray, block: pa.Table | None) -> pa.ChunkedArray:
    if block is None:
        return pc.is_in(ids, pa.array([], ids.type))
    return pc.is_in(ids, block["user_id"].combine_chunks().dictionary_decode())


def _as_rows(rows: pa.Table) -> Rows:
    heard = pc.list_value_length(rows["played_between"]).to_numpy() > 0
    times = np.full((len(rows), 2), NEVER, np.int64)
    plays = np.zeros((len(rows), len(HALF_LIVES)))
    for values, name in ((times, "played_between"), (plays, "decayed_plays")):
        stored = rows[name].combine_chunks().flatten().to_numpy()
        values[heard] = stored.reshape(-1, values.shape[1])
    histories = Histories(times[:, 0], times[:, 1], plays)
    return Rows(matrix(rows["features"]), matrix(rows["present"]), histories)


def touched_users(
    spark: SparkSession, lake: Lakehouse, before: Batch, now: Batch, settings: Mapping[str, Any]
) -> DataFrame | None:
    """Whose known plays a refresh finds changed; None where everybody has to be computed.

    Args:
        spark: a session with Delta.
        lake: the lakehouse.
        before: the batch as it was.
        now: as the refresh will leave it.
        settings: those of the job now.

    Returns:
        user_id, distinct.
    """
    made = before.recipe.get("features", {})
    if any(made.get(name) != settings.get(name) for name in SAME):
        return None
    if now.as_of < before.as_of or not set(TABLES) <= set(before.tables):
        return None
    if _items(spark, lake, before) != _items(spark, lake, now):
        return None
    news = read(spark, lake, "listens", now).where(known_at(now.as_of) & ~known_at(before.as_of))
    changed = news.select("user_id")
    files = [
        set(lake.open("listens", batch.version_of("listens")).file_uris())
        for batch in (before, now)
    ]
    of_one_alone = sorted(files[0] ^ files[1])
    if of_one_alone:
        changed = changed.union(spark.read.parquet(*of_one_alone).select("user_id"))
    return changed.distinct()


def _items(spark: SparkSession, lake: Lakehouse, batch: Batch) -> Any:
    """What features use of the catalogue, as a sum that changes with it."""
    vectors = read(spark, lake, "track_vectors", batch).select("item_id")
    catalogue = read(spark, lake, "items", batch)
    told = F.xxhash64("item_id", "creator_id", "duration_ms")
    return vectors.join(catalogue, on="item_id").agg(F.count("*"), F.sum(told)).first()
