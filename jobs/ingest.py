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

from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.judge import (
    FILE,
    REASONS,
    judge,
    raw_json,
    read_table,
    with_repeats,
    with_unknown_items,
)
from jobs.session import spark_session
from jobs.source import FILLED, Delivery, check_source
from jobs.suppress import without_erased
from lakehouse.checks import Check, Verdict
from lakehouse.erasure import require_no_erasure
from lakehouse.gate import import_ahead, settled
from lakehouse.lease import committing
from lakehouse.publish import audit_staged, stage
from lakehouse.quarantine import KIND_ENDS
from lakehouse.report import write_report
from lakehouse.steps import StepClock, finished_steps
from lakehouse.storage import Lakehouse
from lakehouse.suppression import suppressed
from schemas.contract import contract
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMMON_REASONS = 5
DELIVERY = "delivery"  # the name under which the gate speaks of all tables at once


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
    require_no_erasure(lake)
    clock = StepClock(lake, "ingest")
    import_ahead()  # while Spark starts
    with spark_session("ingest", lake.uri) as spark:
        judged, dropped = judge_all(spark, lake, delivery)
        tallies = {table: tally(frame) for table, frame in judged.items()}
        counts = {table: (found.good, found.bad) for table, found in tallies.items()}
        reasons = {table: found.reasons for table, found in tallies.items()}
        of_erased = {table: count() for table, count in dropped.items()}
        quarantine(lake, judged, counts, delivery.ingest_id)
        require_tolerable(lake, delivery.ingest_id, tallies)
        publish(spark, lake, judged, delivery.ingest_id)
    clock.finish(
        delivery.ingest_id,
        rows_in=sum(good + bad for good, bad in counts.values()),
        rows_out=sum(good for good, _ in counts.values()),
        tables={table: {"good": good, "bad": bad} for table, (good, bad) in counts.items()},
        reasons=reasons,
        rows_of_erased=of_erased,
    )


def judge_all(
    spark: SparkSession, lake: Lakehouse, delivery: Delivery
) -> tuple[dict[str, DataFrame], dict[str, Callable[[], int]]]:
    """Read and judge every table of a delivery; listens also against all items known by now.

    Returns:
        each table's rows; and where people were erased, how many rows of theirs were left out.
    """
    judged: dict[str, DataFrame] = {}
    dropped: dict[str, Callable[[], int]] = {}
    erased = suppressed(lake)
    for table in FILLED:
        if table not in delivery.source.tables:
            continue
        spec = delivery.source.tables[table]
        frame = judge(read_table(spark, delivery, spec), table, spec)
        if table == "listens":
            frame = with_unknown_items(frame, all_items(spark, lake, judged))
        if erased is not None and "user_id" in contract(table).column_names:
            frame, dropped[table] = without_erased(frame, raw_json(frame), erased)
        judged[table] = with_repeats(frame, table).persist(StorageLevel.DISK_ONLY)
    return judged, dropped


def all_items(spark: SparkSession, lake: Lakehouse, judged: dict[str, DataFrame]) -> DataFrame:
    """``item_id`` of all that is known: what is published, and what is good among the new rows."""
    known = [good_rows(judged["items"], "items")] if "items" in judged else []
    if lake.exists("items"):
        known.append(spark.read.format("delta").load(lake.table_uri("items")))
    return reduce(DataFrame.union, [items.select("item_id") for items in known]).distinct()


def good_rows(judged: DataFrame, table: str) -> DataFrame:
    """The rows without a reason, as the contract has them."""
    return judged.where(F.size(REASONS) == 0).select(*contract(table).column_names)


def bad_rows(judged: DataFrame, table: str, ingest_id: str) -> DataFrame:
    """The rows with reasons, as ``quarantine`` keeps them."""
    agreed = contract(table)
    known = "user_id" in agreed.column_names
    refused = judged.where(F.size(REASONS) > 0).select(
        F.lit(ingest_id).alias("ingest_id"),
        F.lit(table).alias("table"),
        F.concat_ws("/", *agreed.key).alias("event_id"),
        raw_json(judged).alias("row"),
        F.col(REASONS).alias("reasons"),
        F.col(FILE).alias("file"),
        F.current_timestamp().alias("quarantined_at"),
        (F.col("user_id") if known else F.lit(None).cast("string")).alias("user_id"),
    )
    came = F.concat_ws("\u001f", "ingest_id", "table", "file", "row")
    return refused.withColumn("row_id", F.substring(F.sha2(came, 256), 1, 32))


class Tally(NamedTuple):
    """How a table's rows were judged."""

    good: int
    bad: int
    reasons: dict[str, int]
    """The commonest kinds of fault and how many rows have each; values in brackets left out."""


def tally(judged: DataFrame) -> Tally:
    """Count rows and faults in one pass; a table has few combinations of kinds of fault."""
    kinds = F.transform(REASONS, lambda reason: F.regexp_replace(reason, KIND_ENDS, ""))
    of_bad = F.when(F.size(REASONS) > 0, kinds)
    counted = judged.groupBy(of_bad.alias("kinds")).count().collect()
    rows: Counter[str] = Counter()
    for row in counted:
        rows.update(dict.fromkeys(row["kinds"] or (), row["count"]))
    commonest = sorted(rows.items(), key=lambda fault: (-fault[1], fault[0]))[:COMMON_REASONS]
    good = sum(row["count"] for row in counted if not row["kinds"])
    return Tally(good, sum(row["count"] for row in counted) - good, dict(commonest))


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
        with committing(lake, "quarantine"):
            (
                reduce(DataFrame.unionByName, refused)
                .write.format("delta")
                .mode("append")
                .option("txnAppId", f"quarantine/{ingest_id}")
                .option("txnVersion", 1)
                .save(lake.table_uri("quarantine"))
            )


def require_tolerable(lake: Lakehouse, ingest_id: str, tallies: Mapping[str, Tally]) -> None:
    """Stop a delivery with more bad rows than its contracts allow.

    Raises:
        GateError: it names each table that is over, and the commonest reasons.
    """
    checks = [_refused_share(table, found) for table, found in tallies.items()]
    rows = sum(found.good + found.bad for found in tallies.values())
    verdict = settled(lake, Verdict(run_id=ingest_id, table=DELIVERY, rows=rows, checks=checks))
    if not verdict.passed:
        write_report(lake, ingest_id)
    verdict.require(lake.report_uri(ingest_id))


def _refused_share(table: str, found: Tally) -> Check:
    allowed = contract(table).quarantined_share_max
    rows = found.good + found.bad
    why = "; ".join(f"{kind}: {count:,}" for kind, count in found.reasons.items())
    return Check(
        check=f"{table}.refused",
        expectation=f"at most {allowed:.0%} of the rows of {table} are refused",
        column=None,
        level="fail",
        success=found.good > 0 and found.bad <= allowed * rows,
        expected=f"at most {allowed:.0%}, and at least one good row",
        observed=f"{found.bad:,} of {rows:,} rows are bad ({why or 'no reasons'})"
        + ("; see `tasteprint quarantine list`" if found.bad else ""),
        unexpected_count=found.bad,
        examples=[],
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
    same_key = " AND ".join(f"old.{name} = new.{name}" for name in agreed.key)
    with committing(lake, table):
        lake.ensure(table)
        target = DeltaTable.forPath(spark, lake.table_uri(table)).alias("old")
        change = target.merge(rows.alias("new"), same_key).whenNotMatchedInsertAll()
        if table != "listens":
            rest = [name for name in agreed.column_names if name not in agreed.key]
            differs = " OR ".join(f"NOT (old.{name} <=> new.{name})" for name in rest)
            change = change.whenMatchedUpdateAll(condition=differs)
        change.execute()


if __name__ == "__main__":
    main()
