"""What was refused: which rows, for what, and which of them were taken in after all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.arrow import delta_dataset
from schemas.contract import contract
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakehouse.storage import Lakehouse

KIND_ENDS = r"(?s) \(.*\)$"  # a reason up to here is the kind of fault; in brackets is the value
SHORT = 12  # letters of a row_id that tell it apart
GROUP = ["ingest_id", "table", "kind"]


@dataclass(frozen=True)
class Choice:
    """Which rows of ``quarantine`` are meant; what is None narrows nothing."""

    table: str | None = None
    """The table they were meant for."""
    ingest: str | None = None
    """The id of the ingest that refused them."""
    source: str | None = None
    """Name of the source that they came by; not asked for where ``ingest`` is given."""
    reason: str | None = None
    """Part of one of their reasons."""


@dataclass(frozen=True)
class Fault:
    """How many rows of one table one ingest refused for one kind of fault."""

    ingest_id: str
    table: str
    kind: str
    rows: int
    replayed: int
    example: str | None
    """A ``row_id``, of a row that is still open if there is one."""


def faults(lake: Lakehouse, choice: Choice) -> list[Fault]:
    """What was refused, by ingest, table and kind of fault, the commonest kinds first.

    A row with several reasons counts in several groups.
    """
    rows = _rows(lake, choice, ["ingest_id", "table", "reasons", "row_id", "replayed_at"])
    rows = rows.sort_by("replayed_at").combine_chunks()  # the open ones last
    if len(rows) == 0:
        return []
    reasons = rows["reasons"].combine_chunks()
    kinds = pc.replace_substring_regex(pc.list_flatten(reasons), KIND_ENDS, "")
    each = rows.take(pc.list_parent_indices(reasons)).append_column("kind", kinds)
    grouped = each.group_by(GROUP, use_threads=False).aggregate(
        [("kind", "count"), ("replayed_at", "count"), ("row_id", "last")]
    )
    found = [
        Fault(
            ingest_id=row["ingest_id"],
            table=row["table"],
            kind=row["kind"],
            rows=row["kind_count"],
            replayed=row["replayed_at_count"],
            example=row["row_id_last"],
        )
        for row in grouped.to_pylist()
    ]
    return sorted(found, key=lambda fault: (fault.ingest_id, fault.table, -fault.rows, fault.kind))


def open_rows(lake: Lakehouse, choice: Choice) -> pa.Table:
    """``row_id`` and ``table`` of the rows that nobody has taken in yet, one row per id.

    Rows that were refused before rows had ids are not among them.
    """
    rows = _rows(lake, choice, ["row_id", "table"], pc.field("replayed_at").is_null())
    return rows.filter(pc.is_valid(rows["row_id"])).group_by(["row_id", "table"]).aggregate([])


def find_row(lake: Lakehouse, row_id: str) -> dict[str, Any]:
    """The refused row whose id begins so; of rows that are the same in all respects, one.

    Raises:
        InputError: no row's id begins so, or those of several do.
    """
    begins = pc.starts_with(pc.field("row_id"), row_id)
    found = _rows(lake, Choice(), contract("quarantine").column_names, begins).to_pylist()
    ids = sorted({row["row_id"] for row in found})
    if not ids:
        raise InputError(
            f"no refused row {row_id!r} in {lake.uri}: `tasteprint quarantine list` gives examples"
        )
    if len(ids) > 1:
        shown = ", ".join(ids[:3])
        raise InputError(
            f"{len(ids):,} refused rows begin with {row_id!r}: say more of it ({shown})"
        )
    return found[0]


def replay_summary(
    tables: Mapping[str, Mapping[str, int]], reasons: Mapping[str, Mapping[str, int]]
) -> Iterator[str]:
    """What a replay came to, line by line.

    Args:
        tables: for each table how many rows ``landed``, were ``known`` already, and are ``bad``.
        reasons: for each table why rows are still bad, and how many.
    """
    for table, rows in tables.items():
        yield (
            f"{table}: {rows['landed']:,} landed, {rows['known']:,} were there already, "
            f"{rows['bad']:,} are still bad"
        )
        for reason, count in reasons[table].items():
            yield f"  {count:,} rows: {reason}"


def _rows(
    lake: Lakehouse, choice: Choice, columns: list[str], also: pc.Expression | None = None
) -> pa.Table:
    stored = delta_dataset(lake.open("quarantine"))
    # Rows that are older than a column of the contract have null in it.
    stored = stored.replace_schema(contract("quarantine").arrow_schema)
    wanted = _condition(choice) if also is None else _condition(choice) & also
    rows = stored.to_table(columns=[*{*columns, "reasons"}], filter=wanted)
    if choice.reason is not None:
        rows = rows.filter(_mentions(rows["reasons"].combine_chunks(), choice.reason))
    return rows.select(columns)


def _condition(choice: Choice) -> pc.Expression:
    wanted = pc.scalar(True)
    if choice.table is not None:
        wanted &= pc.field("table") == choice.table
    if choice.ingest is not None:
        wanted &= pc.field("ingest_id") == choice.ingest
    elif choice.source is not None:
        wanted &= pc.starts_with(pc.field("ingest_id"), f"ingest-{choice.source}-")
    return wanted


def _mentions(reasons: pa.ListArray, text: str) -> pa.BooleanArray:
    """Whether one of a row's reasons holds the text, (N,)."""
    owners = pc.list_parent_indices(reasons)
    named = pc.unique(owners.filter(pc.match_substring(pc.list_flatten(reasons), text)))
    return pc.is_in(pa.array(range(len(reasons)), owners.type), value_set=named)
