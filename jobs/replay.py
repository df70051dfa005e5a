r"""Refused rows, judged again after a fix, into the tables they were meant for.

::

    spark-submit --properties-file spark.conf jobs/replay.py \\
        --source FIXED.yaml --lakehouse URI [--table T] [--ingest ID] [--reason TEXT]

Open rows of ``quarantine`` are read back as they came and judged by the source file, the contracts
and the catalogue of now. Those that are good pass the gate like a delivery and are merged by key;
after that one commit marks them. A replay that dies between the two finds its rows in the tables
when it is repeated, and marks them.
"""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, StringType, StructField, StructType

from jobs.ingest import Tally, all_items, publish, tally
from jobs.judge import (
    FILE,
    RAW,
    REASONS,
    judge,
    with_reason,
    with_repeats,
    with_unknown_items,
)
from jobs.session import spark_session
from jobs.source import (
    FILLED,
    FromColumn,
    Now,
    Source,
    TableSource,
    load_source,
    mapping_faults,
    named_columns,
    replay_id,
    require_replayable,
)
from jobs.suppress import without_erased
from lakehouse.erasure import require_no_erasure
from lakehouse.gate import import_ahead
from lakehouse.lease import committing
from lakehouse.quarantine import Choice, open_rows, replay_summary
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from lakehouse.suppression import suppressed
from schemas.contract import contract
from schemas.errors import InputError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KNOWN = "_in_table"
TEXT, FRACTION, LIST = StringType(), DoubleType(), ArrayType(StringType())
ARROW = {TEXT: pa.string(), FRACTION: pa.float64(), LIST: pa.list_(pa.string())}
WHOLE = ("int", "long", "boolean")  # types that a fraction becomes, and its text does not


class Replay(Settings):
    """Judge refused rows again, and take in those that are good now."""

    source: str
    """Source file: how the columns of the refused rows map onto our contracts."""
    lakehouse: str
    """Folder or URI of the lakehouse."""
    table: str | None = None
    """Only rows that were meant for this table."""
    ingest: str | None = None
    """Only rows that this ingest refused; otherwise all that came by a source of this name."""
    reason: str | None = None
    """Only rows one of whose reasons holds this text."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Judge again, stage, audit, merge, and mark what was taken in."""
    args = Replay.parse(argv)
    lake, source = Lakehouse(args.lakehouse), load_source(args.source)
    require_no_erasure(lake)
    rows = open_rows(lake, Choice(args.table, args.ingest, source.name, args.reason))
    if len(rows) == 0:
        print("no refused rows to replay")  # noqa: T201
        return
    tables = [table for table in FILLED if table in rows["table"].unique().to_pylist()]
    require_replayable(source, tables)
    lake.check_writable()
    run_id = replay_id(source, rows["row_id"].to_pylist())
    clock = StepClock(lake, "replay")
    import_ahead()  # while Spark starts
    with spark_session("replay", lake.uri) as spark:
        judged = judge_again(spark, lake, source, read_refused(spark, lake, rows), tables)
        tallies = {table: tally(frame) for table, frame in judged.items()}
        counts = {table: _counts(frame, tallies[table]) for table, frame in judged.items()}
        good = {table: frame for table, frame in judged.items() if tallies[table].good}
        if good:
            publish(spark, lake, good, run_id)
            mark_replayed(spark, lake, good.values(), run_id)
    reasons = {table: found.reasons for table, found in tallies.items()}
    landed = sum(found["landed"] for found in counts.values())
    clock.finish(run_id, rows_in=len(rows), rows_out=landed, tables=counts, reasons=reasons)
    print("\n".join(replay_summary(counts, reasons)))  # noqa: T201


def read_refused(spark: SparkSession, lake: Lakehouse, rows: pa.Table) -> DataFrame:
    """The refused rows of those ids; of rows that are the same in all respects, one.

    Returns:
        row_id, ingest_id, table, row (JSON), _file.
    """
    chosen = spark.createDataFrame(rows.select(["row_id"]))
    stored = spark.read.format("delta").load(lake.table_uri("quarantine"))
    return (
        stored.join(chosen, on="row_id", how="left_semi")
        .dropDuplicates(["row_id"])
        .select("row_id", "ingest_id", "table", "row", F.col("file").alias(FILE))
        .persist(StorageLevel.DISK_ONLY)
    )


def judge_again(
    spark: SparkSession,
    lake: Lakehouse,
    source: Source,
    refused: DataFrame,
    tables: Iterable[str],
) -> dict[str, DataFrame]:
    """Judge refused rows by all that is known now, and see which of them are in their tables.

    Returns:
        for each table what ``judge`` gives, ``_raw`` as JSON, with ``row_id`` and ``_in_table``.
    """
    lake.ensure("items")
    erased = suppressed(lake)
    judged: dict[str, DataFrame] = {}
    for table in tables:
        spec = source.tables[table]
        parts = read_back(refused.where(F.col("table") == table), table, spec)
        alone = [judge(p, table, spec).drop(RAW).withColumnRenamed("row", RAW) for p in parts]
        frame = reduce(DataFrame.unionByName, alone)
        if table == "listens":
            frame = with_unknown_items(frame, all_items(spark, lake, judged))
        if erased is not None and "user_id" in contract(table).column_names:
            frame, _ = without_erased(frame, F.col(RAW), erased)
        frame = with_known(spark, lake, frame, table, spec)
        judged[table] = with_repeats(frame, table).persist(StorageLevel.DISK_ONLY)
    return judged


def read_back(refused: DataFrame, table: str, spec: TableSource) -> list[DataFrame]:
    """Refused rows of one table as ``read_table`` gave them.

    Rows that one ingest refused have the same types; ingests that agree in them share a DataFrame.

    Returns:
        ``_raw``, ``_file``, ``row_id``, and the JSON as ``row``.

    Raises:
        InputError: the rows and the source do not fit; the message lists everything.
    """
    wrong: list[str] = []
    alike: dict[StructType, list[str]] = defaultdict(list)
    for ingest_id, schema in _schemas(refused, table, spec).items():
        came = pa.schema([(field.name, ARROW[field.dataType]) for field in schema])
        wrong += [f"rows of {ingest_id}: {fault}" for fault in mapping_faults(table, spec, came)]
        alike[schema].append(ingest_id)
    if wrong:
        listed = "\n".join(f"  - {line}" for line in wrong)
        raise InputError(f"the source file and the refused rows do not fit:\n{listed}")
    return [
        refused.where(F.col("ingest_id").isin(ingests)).select(
            F.from_json("row", schema).alias(RAW), FILE, "row_id", "row"
        )
        for schema, ingests in alike.items()
    ]


def _schemas(refused: DataFrame, table: str, spec: TableSource) -> dict[str, StructType]:
    """The columns of the rows that each ingest refused: lists, fractions, or text as it came.

    A fraction is told from text only where it shall become a whole number, as 1500.0 does and its
    text does not.
    """
    named = sorted({name for origin in spec.origins().values() for name in named_columns(origin)})
    whole = {
        origin.column
        for name, origin in spec.origins().items()
        if isinstance(origin, FromColumn) and _is_whole(table, name)
    }
    text, fraction, several = (
        F.from_json("row", StructType([StructField(name, kind) for name in named]))
        for kind in (TEXT, FRACTION, LIST)
    )
    lists = [F.bool_or(several[name].isNotNull()) for name in named]
    fractions = [
        F.bool_or(fraction[name].isNotNull() & text[name].rlike("[.eE]")) for name in named
    ]
    found = refused.groupBy("ingest_id").agg(
        F.first(F.json_object_keys("row")).alias("columns"),
        F.array(*lists).alias("lists"),
        F.array(*fractions).alias("fractions"),
    )
    schemas = {}
    for row in found.collect():
        kinds: dict[str, DataType] = dict.fromkeys(row["columns"], TEXT)
        for name, is_list, is_fraction in zip(named, row["lists"], row["fractions"], strict=True):
            if is_list:
                kinds[name] = LIST
            elif is_fraction and name in whole:
                kinds[name] = FRACTION
        schemas[row["ingest_id"]] = StructType([StructField(*kind) for kind in kinds.items()])
    return schemas


def _is_whole(table: str, name: str) -> bool:
    agreed = contract(table)
    return name in agreed.column_names and agreed[name].type_name in WHOLE


def with_known(
    spark: SparkSession, lake: Lakehouse, judged: DataFrame, table: str, spec: TableSource
) -> DataFrame:
    """Say of each row whether its key is in its table, and refuse it if other values are there.

    An event never changes, so its key is enough. Of anything else the newest delivery counts, and
    which of the two is newer cannot be told any more.
    """
    lake.ensure(table)
    agreed = contract(table)
    rest = [
        name
        for name in agreed.column_names
        if name not in agreed.key and not isinstance(spec.origins().get(name), Now)
    ]
    values = F.lit(True) if table == "listens" else F.struct(*rest)
    there = spark.read.format("delta").load(lake.table_uri(table))
    there = there.select(*agreed.key, values.alias(KNOWN))
    joined = judged.join(there, on=list(agreed.key), how="left")
    known = F.col(KNOWN).isNotNull()
    differs = F.lit(False) if table == "listens" else known & ~F.col(KNOWN).eqNullSafe(values)
    said = F.lit(f"{' and '.join(agreed.key)} is in {table} with other values")
    return with_reason(joined, F.when(differs, said)).withColumn(KNOWN, known)


def _counts(judged: DataFrame, found: Tally) -> dict[str, int]:
    known = judged.where((F.size(REASONS) == 0) & F.col(KNOWN)).count() if found.good else 0
    return {"landed": found.good - known, "known": known, "bad": found.bad}


def mark_replayed(
    spark: SparkSession, lake: Lakehouse, judged: Iterable[DataFrame], run_id: str
) -> None:
    """Write beside the good rows, in one commit, when and by which replay they were taken in."""
    from delta.tables import DeltaTable

    good = [frame.where(F.size(REASONS) == 0).select("row_id") for frame in judged]
    taken_in = {"replayed_at": F.current_timestamp(), "replayed_by": F.lit(run_id)}
    with committing(lake, "quarantine"):
        (
            DeltaTable.forPath(spark, lake.table_uri("quarantine"))
            .alias("refused")
            .merge(
                reduce(DataFrame.union, good).alias("good"),
                "refused.row_id = good.row_id AND refused.replayed_at IS NULL",
            )
            .whenMatchedUpdate(set=taken_in)
            .execute()
        )


if __name__ == "__main__":
    main()
