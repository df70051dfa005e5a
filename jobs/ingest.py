r"""Somebody's files into ``items``, ``users``, ``onboarding`` and ``listens``.

::

    spark-submit --properties-file spark.conf jobs/ingest.py \\
        --source sources/NAME.yaml --data DIR --lakehouse URI

Every row is judged against its contract. Bad rows go to ``quarantine`` as they came, with every
reason; more of them than the contract allows stop the delivery. What remains is staged, passes the
gate, and is merged by key, the events last: a delivery that is repeated, whole or after a crash,
adds nothing twice.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.judge import FILE, RAW, REASONS, judge, read_table, with_unknown_items
from jobs.session import spark_session
from jobs.source import FILLED, Delivery, check_source
from lakehouse.gate import import_ahead
from lakehouse.publish import audit_staged, stage
from lakehouse.steps import StepClock, finished_steps
from lakehouse.storage import Lakehouse
from schemas.contract import contract
from schemas.errors import GateError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMON_REASONS = 5


class Ingest(Settings):
    """Bring somebody's events and catalogue into the lakehouse, through the gate."""

    source: str
    """Source file: how the columns map onto our contracts (sources/*.yaml)."""
    data: str
    """Folder or URI that holds the source's files."""
    lakehouse: str
    """Folder or URI of the lakehouse."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Judge, quarantine, stage, audit and merge one delivery."""
    args = Ingest.parse(argv)
    lake = Lakehouse(args.lakehouse)
    delivery = check_source(args.source, args.data)
    lake.check_writable()
    if "ingest" in finished_steps(lake, delivery.ingest_id):
        print(f"{delivery.ingest_id}: these files are in the lakehouse already")  # noqa: T201
        return
    clock = StepClock(lake, "ingest")
    import_ahead()  # while Spark starts
    with spark_session("ingest") as spark:
        judged = judge_all(spark, lake, delivery)
        counts = {table: split_counts(frame) for table, frame in judged.items()}
        quarantine(lake, judged, counts, delivery.ingest_id)
        reasons = {
            table: common_reasons(frame) if counts[table][1] else {}
            for table, frame in judged.items()
        }
        require_tolerable(counts, reasons)
        publish(spark, lake, judged, delivery.ingest_id)
    clock.finish(
        delivery.ingest_id,
        rows_in=sum(good + bad for good, bad in counts.values()),
        rows_out=sum(good for good, _ in counts.values()),
        tables={table: {"good": good, "bad": bad} for table, (good, bad) in counts.items()},
        reasons=reasons,
    )


def judge_all(spark: SparkSession, lake: Lakehouse, delivery: Delivery) -> dict[str, DataFrame]:
    """Read and judge every table of a delivery; listens also against all items known by now."""
    judged: dict[str, DataFrame] = {}
    for table in FILLED:
        if table not in delivery.source.tables:
            continue
        spec = delivery.source.tables[table]
        frame = judge(read_table(spark, delivery, spec), table, spec)
        if table == "listens":
            frame = with_unknown_items(frame, _all_items(spark, lake, judged["items"]))
        judged[table] = frame.persist(StorageLevel.DISK_ONLY)
    return judged


def _all_items(spark: SparkSession, lake: Lakehouse, judged: DataFrame) -> DataFrame:
    new = good_rows(judged, "items").select("item_id")
    if not lake.exists("items"):
        return new
    published = spark.read.format("delta").load(lake.table_uri("items")).select("item_id")
    return new.union(published).distinct()


def good_rows(judged: DataFrame, table: str) -> DataFrame:
    """The rows without a reason, as the contract has them."""
    return judged.where(F.size(REASONS) == 0).select(*contract(table).column_names)


def bad_rows(judged: DataFrame, table: str, ingest_id: str) -> DataFrame:
    """The rows with reasons, as ``quarantine`` keeps them."""
    key = contract(table).key
    return judged.where(F.size(REASONS) > 0).select(
        F.lit(ingest_id).alias("ingest_id"),
        F.lit(table).alias("table"),
        F.concat_ws("/", *key).alias("event_id"),
        F.to_json(RAW).alias("row"),
        F.col(REASONS).alias("reasons"),
        F.col(FILE).alias("file"),
        F.current_timestamp().alias("quarantined_at"),
    )


def split_counts(judged: DataFrame) -> tuple[int, int]:
    """How many rows are good, and how many bad."""
    bad = F.sum((F.size(REASONS) > 0).cast("long"))
    row = judged.agg(F.count("*").alias("rows"), bad.alias("bad")).first()
    rows, refused = (row["rows"], row["bad"] or 0) if row else (0, 0)
    return rows - refused, refused


def common_reasons(judged: DataFrame) -> dict[str, int]:
    """The commonest kinds of fault and how many rows have each; values in brackets left out."""
    kinds = judged.select(F.explode(REASONS).alias("reason")).select(
        F.regexp_replace("reason", r" \(.*\)$", "").alias("kind")
    )
    counted = kinds.groupBy("kind").count().orderBy(F.desc("count"), "kind")
    return {row["kind"]: row["count"] for row in counted.limit(COMMON_REASONS).collect()}


def quarantine(
    lake: Lakehouse,
    judged: dict[str, DataFrame],
    counts: dict[str, tuple[int, int]],
    ingest_id: str,
) -> None:
    """Append a delivery's bad rows in one commit, once however often it is repeated."""
    lake.ensure("quarantine")
    refused = [bad_rows(judged[table], table, ingest_id) for table in judged if counts[table][1]]
    if refused:
        (
            reduce(DataFrame.unionByName, refused)
            .write.format("delta")
            .mode("append")
            .option("txnAppId", f"quarantine/{ingest_id}")
            .option("txnVersion", 1)
            .save(lake.table_uri("quarantine"))
        )


def require_tolerable(
    counts: dict[str, tuple[int, int]], reasons: dict[str, dict[str, int]]
) -> None:
    """Stop a delivery with more bad rows than its contracts allow.

    Raises:
        GateError: it names each table that is over, and the commonest reasons.
    """
    over = []
    for table, (good, bad) in counts.items():
        allowed = contract(table).quarantined_share_max
        if good == 0 or bad > allowed * (good + bad):
            why = "; ".join(f"{kind}: {count:,}" for kind, count in reasons[table].items())
            over.append(
                f"  - {table}: {bad:,} of {good + bad:,} rows are bad, and the contract allows "
                f"{allowed:.0%} ({why or 'there are no rows'})"
            )
    if over:
        raise GateError(
            "the delivery was stopped and nothing of it was published:\n"
            + "\n".join(over)
            + "\n  The rows are in the table quarantine, each with all of its reasons."
        )


def publish(
    spark: SparkSession, lake: Lakehouse, judged: dict[str, DataFrame], ingest_id: str
) -> None:
    """Stage and audit every table, and merge them only when all have passed.

    Raises:
        GateError: a table did not pass; none was merged.
    """
    places = {
        table: stage(lake, table, good_rows(frame, table), ingest_id)
        for table, frame in judged.items()
    }
    for table in places:
        audit_staged(lake, table, ingest_id, spark).require(lake.report_uri(ingest_id))
    for table, place in places.items():
        merge(spark, lake, table, spark.read.parquet(place))
    lake.filesystem.rm(f"{lake.uri}/staging/{ingest_id}", recursive=True)


def merge(spark: SparkSession, lake: Lakehouse, table: str, rows: DataFrame) -> None:
    """Add what is new by key, in one commit.

    An event never changes once it is known. Of anything else the newest delivery counts, and rows
    that say the same as before are not written again.
    """
    from delta.tables import DeltaTable

    agreed = contract(table)
    lake.ensure(table)
    same_key = " AND ".join(f"old.{name} = new.{name}" for name in agreed.key)
    target = DeltaTable.forPath(spark, lake.table_uri(table)).alias("old")
    change = target.merge(rows.alias("new"), same_key).whenNotMatchedInsertAll()
    if table != "listens":
        rest = [name for name in agreed.column_names if name not in agreed.key]
        differs = " OR ".join(f"NOT (old.{name} <=> new.{name})" for name in rest)
        change = change.whenMatchedUpdateAll(condition=differs)
    change.execute()


if __name__ == "__main__":
    main()
