"""Events as tables that the updates are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lakehouse.event_codec import Event


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
