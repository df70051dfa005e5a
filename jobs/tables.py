"""Reading what a batch reads, in Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batches import Batch
    from lakehouse.storage import Lakehouse


def read_parent(spark: SparkSession, lake: Lakehouse, table: str, batch: Batch) -> DataFrame:
    """A table at the version that the batch pinned, or its own rows of a table it published."""
    reader = spark.read.format("delta").option("versionAsOf", batch.version_of(table))
    frame = reader.load(lake.table_uri(table))
    return frame.where(F.col("batch_id") == batch.batch_id) if table in batch.tables else frame


def known_listens(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame:
    """The plays that had happened and were known at the batch's moment."""
    moment = F.lit(batch.as_of)
    listens = read_parent(spark, lake, "listens", batch)
    return listens.where((F.col("played_at") < moment) & (F.col("ingested_at") <= moment))
