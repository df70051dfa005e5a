"""What is new in a service's event log into the lakehouse, each event exactly once.

``jobs/ingest.py --from-log`` comes here. What the service took goes the way that files go: judged
by the contracts and the catalogue of now, audited, merged by key, bad rows to ``quarantine``, and
too many of them stop the drain. What the service refused goes to ``quarantine`` as it came, and
does not count against that share, for its sender was told. Then the lakehouse remembers how far
the log is in it, and segments go that nobody needs any more.

A drain may die anywhere and be repeated. One that a gate has stopped is repeated with the same
events under the same id, until what was wrong is mended or overruled; later events wait.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.ingest import detail_of, judge_all, rows_of_erased, take_in, tally
from jobs.log_events import log_source, read_events, stage_events
from jobs.session import spark_session
from lakehouse.drained import DrainedLog, alone, drain_summary
from lakehouse.erasure import require_no_erasure
from lakehouse.folder_log import ends, remove_before
from lakehouse.gate import import_ahead
from lakehouse.steps import StepClock, finished_steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyspark.sql import SparkSession

    from jobs.ingest import Tally
    from jobs.log_events import Staged
    from lakehouse.drained import Span
    from lakehouse.storage import Lakehouse

STEP = "drain"
SECOND, DAY = 10**6, 86_400 * 10**6  # microseconds


def drain(lake: Lakehouse, folder: Path, keep_days: float) -> None:
    """Take in what the log holds now, and remove drained segments that are older than that.

    Args:
        lake: the lakehouse.
        folder: of the log.
        keep_days: for which drained segments stay.

    Raises:
        InputError: there is no log, it is damaged, or somebody else drains it.
        GateError: a gate said no; nothing was published, and nothing is forgotten.
    """
    with alone(folder):
        lake.check_writable()
        require_no_erasure(lake)
        log, until = DrainedLog(lake, folder), ends(folder)
        span = log.begin(until)
        if span is None:
            print("nothing new in the log")  # noqa: T201
        else:
            import_ahead()  # while Spark starts
            with spark_session("ingest", lake.uri) as spark:
                while span is not None:  # twice, where another drain died
                    drain_span(spark, lake, folder, span)
                    log.end(span)
                    span = log.begin(until)
        remove_before(folder, log.offsets, time.time_ns() // 1000 - round(keep_days * DAY))


def drain_span(spark: SparkSession, lake: Lakehouse, folder: Path, span: Span) -> None:
    """Take in a part of the log, and say what that came to; once it has ended, do nothing.

    Raises:
        GateError: a gate said no; nothing was published.
    """
    if STEP in finished_steps(lake, span.run_id):
        return
    clock = StepClock(lake, STEP)
    staged = stage_events(lake, folder, span)
    tallies, of_erased = take_in_staged(spark, lake, span.run_id, staged)
    detail = {
        "events": staged.events,
        "refused": staged.refused,
        "newest": f"{datetime.fromtimestamp(staged.newest / SECOND, UTC):%Y-%m-%d %H:%M:%S}",
        "rows_of_erased": of_erased,
        **detail_of(tallies),
    }
    clock.finish(
        span.run_id,
        rows_in=sum(staged.events.values()) + staged.refused,
        rows_out=sum(found.good for found in tallies.values()),
        **detail,
    )
    print("\n".join([f"{span.run_id}:", *drain_summary(detail)]))  # noqa: T201


def take_in_staged(
    spark: SparkSession, lake: Lakehouse, run_id: str, staged: Staged
) -> tuple[Mapping[str, Tally], dict[str, int]]:
    """Judge, audit and publish the staged events, and remove their files.

    Returns:
        how each table's rows were judged, and how many were left out as erased people's.

    Raises:
        GateError: a gate said no; nothing was published.
    """
    lake.ensure("items")  # that listens are held against
    came = {table: read_events(spark, lake, run_id, table) for table in staged.events}
    judged, dropped = judge_all(spark, lake, log_source().tables, came)
    tallies = {table: tally(frame) for table, frame in judged.items()}
    of_erased = rows_of_erased(came, tallies, dropped)
    left = {table: found for table, found in tallies.items() if found.good or found.bad}
    if left:  # of the others all were erased people's
        take_in(spark, lake, {table: judged[table] for table in left}, left, run_id)
    place = f"{lake.uri}/staging/{run_id}"
    if lake.filesystem.exists(place):
        lake.filesystem.rm(place, recursive=True)
    return tallies, of_erased
