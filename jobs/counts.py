"""Co-occurrence counts as a table: what a batch counts anew, and what it takes over.

A pair belongs to the day of its later play, and counts are whole numbers, so

    counts now = counts before + Σ over changed days (pairs known now - pairs known before)

to the last digit. A day has changed when a play on it, or shortly before it, is known now and was
not before. Days without news are not read. Playlists are few, and are counted again as a whole.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.contexts import known_contexts, of_listens, of_playlists
from jobs.cooccurrence import MINUTE, day_of, neighbourhoods, neighbours
from jobs.tables import known_at, known_listens, read
from lakehouse.batch import READABLE
from models.events import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import Column, DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.cooccurrence import Counting

TABLE = "cooccurrence"
CONTEXTS = ("listens", "playlists")
CODE = 1  # raise it when the same plays are counted otherwise: older counts are then left alone


def counts_of(
    spark: SparkSession, lake: Lakehouse, batch: Batch, counting: Counting
) -> tuple[DataFrame, str | None]:
    """Who was played near whom, as the batch knows it.

    Args:
        spark: a session with Delta.
        lake: the lakehouse.
        batch: which plays are known.
        counting: what counts.

    Returns:
        item_key, neighbours, folds, counts, as the contract has them; and the id of the batch
        whose counts were gone on from, None where everything was counted.
    """
    before = _before(lake, batch, counting)
    if before is None:
        return as_rows(neighbours(known_contexts(spark, lake, batch), counting)), None
    total = _pairs(read(spark, lake, TABLE, before))
    for part in _news(spark, lake, before, batch, counting):
        total = total.unionByName(part)
    total = total.groupBy("item", "neighbour", "fold").agg(F.sum("count").alias("count"))
    return as_rows(total.where("count <> 0")), before.batch_id


def _news(
    spark: SparkSession, lake: Lakehouse, before: Batch, now: Batch, counting: Counting
) -> Iterator[DataFrame]:
    """Pairs to be added to those before, and pairs to be taken away, with a count below zero.

    Playlists change anywhere and are few: they are all counted again.
    """
    days = _changed_days(spark, lake, before, now, counting)
    for sign, batch in ((1, now), (-1, before)):
        signed = (sign * F.col("count")).alias("count")
        found = []
        if days:
            plays = of_listens(known_listens(spark, lake, batch))
            found.append(neighbours(_near(plays, days, counting), counting, days))
        if (playlists := of_playlists(spark, lake, batch)) is not None:
            found.append(neighbours(playlists, counting))
        for pairs in found:
            yield pairs.select("item", "neighbour", "fold", signed)


def as_rows(pairs: DataFrame) -> DataFrame:
    """One row per item, as the contract has it, of pairs as ``neighbours`` gives them."""
    return neighbourhoods(pairs).withColumnRenamed("item", "item_key")


def made_by(batch: Batch, counting: Counting) -> dict[str, Any]:
    """What the batch's counts were made with and from, for its recipe."""
    versions = {table: batch.parents[table] for table in CONTEXTS if table in batch.parents}
    return {**asdict(counting), "code": CODE, **versions}


def _before(lake: Lakehouse, batch: Batch, counting: Counting) -> Batch | None:
    """The newest batch whose counts can be gone on from.

    Plays must only have been added since: an erasure takes them away, and its counts with them.
    A window that reaches farther than a day, or over whole histories, is counted anew.
    """
    reach = _reach(counting)
    if reach is None or reach > DAY:
        return None
    now = set(lake.open("listens", batch.version_of("listens")).file_uris())
    newest = sorted(lake.batches.list(), key=lambda one: (one.as_of, one.batch_id), reverse=True)
    usable = (
        one
        for one in newest
        if one.batch_id != batch.batch_id
        and one.state in READABLE
        and TABLE in one.tables
        and one.as_of <= batch.as_of
        and one.recipe.get(TABLE) == made_by(one, counting)
        and now.issuperset(lake.open("listens", one.version_of("listens")).file_uris())
    )
    return next(usable, None)


def _reach(counting: Counting) -> int | None:
    """Microseconds after a play in which it may change pairs; None for ever."""
    if counting.gap_minutes is None:
        return None
    return round(counting.gap_minutes * MINUTE * counting.window)


def _ends(counting: Counting) -> tuple[Column, Column]:
    """The day of a play, and the last day on which it may change pairs."""
    at = F.unix_micros("played_at")
    return day_of(at), day_of(at + F.lit(_reach(counting)))


def _changed_days(
    spark: SparkSession, lake: Lakehouse, before: Batch, now: Batch, counting: Counting
) -> list[int]:
    """Days on which other plays are known than before, and days that these reach into."""
    known = read(spark, lake, "listens", now).where(known_at(now.as_of))
    news = known.where(~known_at(before.as_of)).select("played_at")
    old, new = (
        set(lake.open("listens", batch.version_of("listens")).file_uris())
        for batch in (before, now)
    )
    if added := sorted(new - old):
        delivered = spark.read.parquet(*added).where(known_at(now.as_of))
        news = news.union(delivered.select("played_at"))
    rows = news.select(F.explode(F.array(*_ends(counting))).alias("day")).distinct().collect()
    return sorted(row["day"] for row in rows)


def _near(plays: DataFrame, days: list[int], counting: Counting) -> DataFrame:
    """The plays of some days, and those before them that pairs may begin with."""
    first, last = _ends(counting)
    between = (first <= days[-1]) & (last >= days[0])
    return plays.where(between & (first.isin(*days) | last.isin(*days)))


def _pairs(rows: DataFrame) -> DataFrame:
    """Rows of the table as pairs, each once: the reverse of ``as_rows``."""
    met = F.explode(F.arrays_zip("neighbours", "folds", "counts")).alias("met")
    return (
        rows.select(F.col("item_key").alias("item"), met)
        .where("item < met.neighbours")
        .select(
            "item",
            F.col("met.neighbours").alias("neighbour"),
            F.col("met.folds").alias("fold"),
            F.col("met.counts").alias("count"),
        )
    )
