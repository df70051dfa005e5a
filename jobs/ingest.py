r"""Somebody's files, or the events that a service has logged, into the tables of what is known.

::

    spark-submit --properties-file spark.conf jobs/ingest.py \\
        --source sources/NAME.yaml --data DIR --lakehouse URI
    spark-submit --properties-file spark.conf jobs/ingest.py --from-log FOLDER --lakehouse URI

Every row is judged against its contract. Bad rows go to ``quarantine`` as they came, with every
reason; more of them than the contract allows stop the delivery. What remains is staged, passes the
gate, and is merged by key, the events last: a delivery that is repeated, whole or after a crash,
adds nothing twice. Of the log, ``jobs/drain.py`` makes such a delivery.
"""

from __future__ import annotations

from collections import Counter
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field
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
from jobs.source import FILLED, TableSource, check_source
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
from schemas.errors import InputError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMMON_REASONS = 5
NEVER_CHANGE = ("listens", "taste_edits")  # events; of anything else the newest counts
DELIVERY = "delivery"  # the name under which the gate speaks of all tables at once


class Ingest(Settings):
    """Bring somebody's events and catalogue into the lakehouse, through the gate."""

    source: str | None = None
    """Source file: how the columns map onto our contracts (sources/*.yaml)."""
    data: str | None = None
    """Folder or URI that holds the source's files."""
    from_log: str | None = None
    """Folder of a service's event log, to be drained; instead of a source and its data."""
    keep_days: float = Field(default=14.0, ge=0)
    """Days for which drained segments of the log stay: above replay_days of the service, which
    brings a new batch up to date from them."""
    lakehouse: str
    """Folder or URI of the lakehouse."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Take in one delivery, or what is new in an event log."""
    args = Ingest.parse(argv)
    lake = Lakehouse(args.lakehouse)
    if args.from_log is None and args.source is not None and args.data is not None:
        ingest_files(lake, args.source, args.data)
    elif args.from_log is not None and args.source is None and args.data is None:
        from jobs.drain import drain  # which is made of the functions below

        drain(lake, Path(args.from_log), args.keep_days)
    else:
        raise InputError("give --source and --data, or --from-log alone")


def ingest_files(lake: Lakehouse, source: str, data: str) -> None:
    """Judge, quarantine, stage, audit and merge one delivery of files.

    Raises:
        InputError: the files cannot be used; the message lists everything that is wrong.
        GateError: a gate said no; nothing was published.
    """
    delivery = check_source(source, data)
    lake.check_writable()
    if "ingest" in finished_steps(lake, delivery.ingest_id):
        print(f"{delivery.ingest_id}: these files are in the lakehouse already")  # noqa: T201
        return
    require_no_erasure(lake)
    clock = StepClock(lake, "ingest")
    import_ahead()  # while Spark starts
    with spark_session("ingest", lake.uri) as spark:
        tables = delivery.source.tables
        came = {table: read_table(spark, delivery, spec) for table, spec in tables.items()}
        judged, dropped = judge_all(spark, lake, tables, came)
        tallies = {table: tally(frame) for table, frame in judged.items()}
        of_erased = rows_of_erased(came, tallies, dropped)
        take_in(spark, lake, judged, tallies, delivery.ingest_id)
    clock.finish(
        delivery.ingest_id,
        rows_in=sum(found.good + found.bad for found in tallies.values()),
        rows_out=sum(found.good for found in tallies.values()),
        rows_of_erased=of_erased,
        **detail_of(tallies),
    )


def take_in(
    spark: SparkSession,
    lake: Lakehouse,
    judged: dict[str, DataFrame],
    tallies: Mapping[str, Tally],
    ingest_id: str,
) -> None:
    """Keep the bad rows of a delivery, and publish the good ones if the bad are few enough.

    Raises:
        GateError: a gate said no; nothing was published.
    """
    quarantine(lake, judged, tallies, ingest_id)
    require_tolerable(lake, ingest_id, tallies)
    publish(spark, lake, judged, ingest_id)


def judge_all(
    spark: SparkSession,
    lake: Lakehouse,
    tables: Mapping[str, TableSource],
    came: Mapping[str, DataFrame],
) -> tuple[dict[str, DataFrame], dict[str, Callable[[], int]]]:
    """Judge every table of a delivery; listens also against all items known by now.

    Args:
        spark: the session.
        lake: the lakehouse.
        tables: how each is filled.
        came: the rows of each, as ``read_table`` gives them.

    Returns:
        each table's rows; and where people were erased, how many rows of theirs were left out.
    """
    judged: dict[str, DataFrame] = {}
    dropped: dict[str, Callable[[], int]] = {}
    erased = suppressed(lake)
    for table in FILLED:
        if table not in came:
            continue
        frame = judge(came[table], table, tables[table])
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


def rows_of_erased(
    came: Mapping[str, DataFrame],
    tallies: Mapping[str, Tally],
    dropped: Mapping[str, Callable[[], int]],
) -> dict[str, int]:
    """How many rows of each table were left out as erased people's.

    Of a table that has no other rows Spark observes nothing: it sees that nothing is left.
    """
    return {
        table: count() if tallies[table].good or tallies[table].bad else came[table].count()
        for table, count in dropped.items()
    }


def detail_of(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """What a step's record says: good and bad rows of each table, and the commonest reasons."""
    return {
        "tables": {
            table: {"good": found.good, "bad": found.bad} for table, found in tallies.items()
        },
        "reasons": {table: found.reasons for table, found in tallies.items()},
    }


def quarantine(
    lake: Lakehouse,
    judged: dict[str, DataFrame],
    tallies: Mapping[str, Tally],
    ingest_id: str,
) -> None:
    """Append a delivery's bad rows in one commit, once however often it is repeated."""
    lake.ensure("quarantine")
    refused = [bad_rows(judged[table], table, ingest_id) for table in judged if tallies[table].bad]
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
        if table not in NEVER_CHANGE:
            rest = [name for name in agreed.column_names if name not in agreed.key]
            differs = " OR ".join(f"NOT (old.{name} <=> new.{name})" for name in rest)
            change = change.whenMatchedUpdateAll(condition=differs)
        change.execute()


if __name__ == "__main__":
    main()
