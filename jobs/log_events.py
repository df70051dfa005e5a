"""A span of the event log, set apart: good events as files for Spark, refused ones in quarantine.

Everything here goes through the log once, holds a few MiB of it at a time, and may be repeated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from jobs.ingest import NEVER_CHANGE
from jobs.judge import FILE, RAW, read_table
from jobs.source import Delivery, Source, TableSource
from lakehouse.drained import records
from lakehouse.event_codec import TABLES, decode
from lakehouse.suppression import suppressed
from schemas.contract import contract

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.drained import Span
    from lakehouse.event_codec import Event
    from lakehouse.storage import Lakehouse

TAKEN = "_taken"  # when the log took an event, as text that sorts as it does
BETWEEN = "\u001f"  # as in the row_id of a refused row of a file
REFUSED_BYTES = 8 * 2**20  # of refused events that are committed at once


@dataclass(frozen=True)
class Staged:
    """What a span of the log holds.

    Attributes:
        events: how many good ones each table has.
        refused: how many were refused.
        newest: when the log took the newest, microseconds since 1970.
    """

    events: dict[str, int]
    refused: int
    newest: int


def log_source() -> Source:
    """The source of a log's events: files of one table each, with the columns of its contract."""
    tables = {}
    for table in TABLES:
        columns = {name: name for name in contract(table).column_names}
        tables[table] = TableSource.model_validate({"files": f"{table}.jsonl", "columns": columns})
    return Source(name="event_log", tables=tables)


def stage_events(lake: Lakehouse, folder: Path, span: Span) -> Staged:
    """Write a span's good events into files, and its refused ones into ``quarantine``.

    Raises:
        LogDamagedError: the log is not what was written.
    """
    events: Counter[str] = Counter()
    refused, newest = RefusedEvents(lake, span.run_id), 0
    files: dict[str, Any] = {}
    with ExitStack() as whole:
        for number, (partition, record) in enumerate(records(folder, span)):
            event, newest = decode(record.payload), max(newest, record.at)
            if event.reasons:
                refused.add(event, partition, len(record.payload))
                continue
            if event.table not in files:
                place = _place(lake, span.run_id, event.table)
                files[event.table] = whole.enter_context(lake.whole_file(place))
            files[event.table].write(_line(event, f"{record.at:016d}-{number:012d}"))
            events[event.table] += 1
    refused.commit()
    return Staged(dict(events), refused.count, newest)


def read_events(spark: SparkSession, lake: Lakehouse, run_id: str, table: str) -> DataFrame:
    """The staged events of a table as ``read_table`` gives rows, each key once.

    Whoever gets no answer sends an event again, so repeats are no faults. Of listens and taste
    edits the first counts, of picks the last: the second may say that onboarding is completed.
    """
    source = log_source()
    spec = source.tables[table]
    place = _place(lake, run_id, table)
    came = read_table(spark, Delivery(source, {spec.files: [place]}, run_id), spec)
    taken = F.col(RAW)[TAKEN]
    order = taken.asc() if table in NEVER_CHANGE else taken.desc()
    same = Window.partitionBy(*(F.col(RAW)[name] for name in contract(table).key)).orderBy(order)
    once = came.withColumn("_turn", F.row_number().over(same)).where(F.col("_turn") == 1)
    return once.select(F.col(RAW).dropFields(TAKEN).alias(RAW), FILE)


class RefusedEvents:
    """Brings refused events into ``quarantine``, a few MiB in a commit, each once.

    Those that name somebody who was erased are left out. Which events a commit is of depends on
    nothing but the span, so a repeated drain knows its own commits by their names.

    Args:
        lake: the lakehouse.
        run_id: of the drain.

    Attributes:
        count: events so far, erased people's too.
    """

    def __init__(self, lake: Lakehouse, run_id: str) -> None:
        self._lake, self._run_id = lake, run_id
        self._erased = suppressed(lake)
        self._waiting: list[dict[str, Any]] = []
        self._size = self._commits = self.count = 0

    def add(self, event: Event, partition: str, size: int) -> None:
        """Add an event of so many bytes."""
        self._waiting.append(_refused_row(event, partition, self._run_id))
        self.count += 1
        self._size += size
        if self._size >= REFUSED_BYTES:
            self.commit()

    def commit(self) -> None:
        """Append what waits."""
        rows = pa.Table.from_pylist(self._waiting, schema=contract("quarantine").arrow_schema)
        if self._erased is not None and len(rows):
            named = self._erased.told_in(rows["row"].combine_chunks())
            rows = rows.filter(pc.invert(named))
        if len(rows):
            transaction = f"quarantine/{self._run_id}/{self._commits}"
            self._lake.append("quarantine", rows, transaction)
        self._waiting, self._size = [], 0
        self._commits += 1


def _place(lake: Lakehouse, run_id: str, table: str) -> str:
    return f"{lake.uri}/staging/{run_id}/incoming/{table}.jsonl"


def _line(event: Event, taken: str) -> bytes:
    """A line with every column of the contract, also those that it has gained since the event."""
    row = {name: event.row.get(name) for name in contract(event.table).column_names}
    return to_json({**row, TAKEN: taken}) + b"\n"


def _refused_row(event: Event, partition: str, run_id: str) -> dict[str, Any]:
    """A refused event as ``quarantine`` keeps rows."""
    row, came = to_json(event.row).decode(), event.row if isinstance(event.row, dict) else {}
    key = [came.get(name) for name in contract(event.table).key]
    user_id = came.get("user_id")
    said = BETWEEN.join([run_id, event.table, partition, row])
    return {
        "ingest_id": run_id,
        "table": event.table,
        "event_id": "/".join(part for part in key if isinstance(part, str)) or None,
        "row": row,
        "reasons": list(event.reasons),
        "file": partition,
        "quarantined_at": datetime.now(UTC),
        "row_id": hashlib.sha256(said.encode()).hexdigest()[:32],
        "user_id": user_id if isinstance(user_id, str) else None,
    }
