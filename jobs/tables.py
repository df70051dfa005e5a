"""Reading what a batch reads, in Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from lakehouse.space import one_space
from lakehouse.storage import BATCH_ID
from schemas.spark import spark_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pyspark.sql import Column, DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


def read(
    spark: SparkSession, lake: Lakehouse, table: str, batch: Batch | str = "live"
) -> DataFrame:
    """A table as a batch sees it: the inputs it pinned, or the rows it published.

    Every column carries the batch's id, so that ``join`` can refuse to mix two. Columns that the
    contract has gained since are null.

    Args:
        spark: a session with Delta.
        lake: the lakehouse.
        table: name of the contract.
        batch: an id, ``live``, ``legacy``, or the batch itself.
    """
    chosen = lake.batch(batch)
    lake.open(table, chosen.version_of(table))  # checks it against its contract
    reader = spark.read.format("delta").option("versionAsOf", chosen.version_of(table))
    frame = reader.load(lake.table_uri(table))
    if table in chosen.tables:
        frame = frame.where(F.col("batch_id") == chosen.batch_id)
    mark = {BATCH_ID.decode(): chosen.batch_id}
    fields = spark_schema(table).fields

    def column(name: str) -> Column:
        return F.col(name) if name in frame.columns else F.lit(None)

    return frame.select(
        *(
            column(field.name).cast(field.dataType).alias(field.name, metadata=mark)
            for field in fields
        )
    )


def batch_of(frame: DataFrame) -> str | None:
    """The batch whose rows these are; None if the frame does not tell.

    Raises:
        MixedBatchesError: columns of several batches are in it.
    """
    marks = (field.metadata.get(BATCH_ID.decode()) for field in frame.schema.fields)
    return one_space({mark for mark in marks if mark})


def join(
    left: DataFrame, right: DataFrame, on: str | Sequence[str], how: str = "inner"
) -> DataFrame:
    """The join of two frames of one batch.

    Raises:
        MixedBatchesError: they are of two batches; it names both.
    """
    one_space({mark for mark in (batch_of(left), batch_of(right)) if mark})
    keys = [on] if isinstance(on, str) else list(on)
    shared = [name for name in right.columns if name in left.columns and name not in keys]
    return left.join(right.drop(*shared), on=keys, how=how)


def known_listens(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame:
    """The plays that had happened and were known at the batch's moment."""
    return read(spark, lake, "listens", batch).where(known_at(batch.as_of))


def known_at(moment: datetime) -> Column:
    """Whether a play had happened and was known at a moment."""
    now = F.lit(moment)
    return (F.col("played_at") < now) & (F.col("ingested_at") <= now)
