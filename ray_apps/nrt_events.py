"""Events as the log keeps them, and as tables that the updates are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from pydantic_core import from_json, to_json

from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LISTENS, ONBOARDING, TASTE_EDITS = "listens", "onboarding", "taste_edits"
TABLES = (LISTENS, ONBOARDING, TASTE_EDITS)  # that events of users belong to
FILLED = ("ingested_at",)  # by the service, when an event comes in


class Event(NamedTuple):
    """One event of one user.

    Attributes:
        table: whose contract it fits.
        row: as ``schemas.rows`` gives it: JSON's types, times as text.
        reasons: why it was refused; empty for a good one.
    """

    table: str
    row: Mapping[str, Any]
    reasons: tuple[str, ...] = ()


def encode(event: Event) -> bytes:
    """An event as the log keeps it."""
    said: dict[str, Any] = {"table": event.table, "row": event.row}
    if event.reasons:
        said["reasons"] = event.reasons
    return to_json(said)


def decode(payload: bytes) -> Event:
    """The event of an entry of the log."""
    said = from_json(payload)
    return Event(said["table"], said["row"], tuple(said.get("reasons", ())))


def as_tables(events: Iterable[Event]) -> dict[str, pa.Table]:
    """Good events by table, with the columns and types of their contracts, in their order."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if not event.reasons:
            rows.setdefault(event.table, []).append(event.row)
    return {table: _table(table, some) for table, some in rows.items()}


def _table(table: str, rows: list[Mapping[str, Any]]) -> pa.Table:
    schema = contract(table).arrow_schema
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        times = pa.types.is_timestamp(field.type)
        columns.append(pa.array(values, pa.string() if times else field.type).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
