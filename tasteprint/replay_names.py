"""What items are called, for a person who watches a replay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.storage import Lakehouse


class ItemNames:
    """What items are called: title and creator as far as they are known, else the id.

    Args:
        lake: whose catalogue names them; None where there is none.
    """

    def __init__(self, lake: Lakehouse | None) -> None:
        self._lake = lake
        self._known: dict[str, str] = {}

    async def of(self, item_ids: Sequence[str]) -> list[str]:
        """The names of items, in their order; each is looked up once."""
        new = [item_id for item_id in item_ids if item_id not in self._known]
        if new:
            self._known |= await asyncio.to_thread(self._read, new)
        return [self._known[item_id] for item_id in item_ids]

    def _read(self, item_ids: Sequence[str]) -> dict[str, str]:
        named = {item_id: item_id for item_id in item_ids}
        if self._lake is None:
            return named
        columns = ["item_id", "title", "creator_id", "creator_name"]
        try:
            rows = self._lake.rows("items", pc.field("item_id").isin(item_ids), columns)
        except InputError:  # a lakehouse without items
            self._lake = None
            return named
        return named | {row["item_id"]: _named(row) for row in rows.to_pylist()}


def _named(row: dict[str, Any]) -> str:
    creator = row["creator_name"] or row["creator_id"]
    title = row["title"] or row["item_id"]
    return f"{title} by {creator}" if creator else title
