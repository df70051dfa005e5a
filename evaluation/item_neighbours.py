"""The items nearest to an item, with names that a person can judge: exact, and never all in memory.

Vectors stream past once, however many items are asked for; tracks and episodes lie in one space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import matrix
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

AT_ONCE = 50_000  # vectors; 16 MB
SUGGESTIONS = 5
DEEPER = 10  # times as many candidates, where too few are of the kind that was asked for
NAMES = ["item_id", "kind", "title", "creator_id", "creator_name"]


@dataclass(frozen=True)
class Neighbour:
    """One item as seen from another; cosine 1 from itself."""

    item_id: str
    cosine: float
    title: str
    creator: str
    kind: str
    support: int
    source: str


def nearest_items(
    lake: Lakehouse, batch: Batch, item_ids: Sequence[str], count: int, kind: str | None = None
) -> dict[str, list[Neighbour]]:
    """Each item itself, and after it those nearest to it.

    Args:
        lake: the lakehouse.
        batch: has published ``track_vectors``.
        item_ids: whose neighbours.
        count: neighbours of each.
        kind: track or episode; None for both.

    Raises:
        InputError: an item is not there, or has no vector; the message says which are meant
            perhaps.
    """
    queries = _vectors(lake, batch, item_ids)
    depth = count + 1
    while True:
        best, rows = _search(lake, batch, np.stack([queries[name] for name in item_ids]), depth)
        ids = {name for found in best for name in found["item_id"].to_pylist()}
        names = _names(lake, batch, ids | set(item_ids))
        shown = {
            item_id: _shown(item_id, found, names, kind)[: count + 1]
            for item_id, found in zip(item_ids, best, strict=True)
        }
        if depth >= rows or all(len(found) > count for found in shown.values()):
            return shown
        depth *= DEEPER


def _vectors(lake: Lakehouse, batch: Batch, item_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """The vectors of those items."""
    chosen = pc.field("item_id").isin(list(item_ids))
    table = lake.dataset("track_vectors", batch).to_table(["item_id", "vector"], filter=chosen)
    found = dict(zip(table["item_id"].to_pylist(), matrix(table["vector"]), strict=True))
    for item_id in item_ids:
        if item_id not in found:
            raise InputError(_missing(lake, batch, item_id))
    return found


def _search(
    lake: Lakehouse, batch: Batch, queries: np.ndarray, depth: int
) -> tuple[list[pa.Table], int]:
    """For each query the items with the highest cosines, the same order for equal ones; and rows.

    Args:
        lake: the lakehouse.
        batch: the batch.
        queries: (Q, d) float32 of length 1.
        depth: items of each.

    Returns:
        Q tables of item_id, support, source, cosine; and how many items there are.
    """
    best: list[pa.Table] = [None] * len(queries)
    columns = ["item_id", "support", "source", "vector"]
    order = [("cosine", "descending"), ("item_id", "ascending")]
    rows = 0
    for part in lake.dataset("track_vectors", batch).to_batches(columns, batch_size=AT_ONCE):
        if not part.num_rows:
            continue
        rows += part.num_rows
        cosines = matrix(part["vector"]) @ queries.T  # (rows, Q)
        told = pa.Table.from_batches([part.drop_columns(["vector"])])
        for number, cosine in enumerate(cosines.T):
            seen = told.append_column("cosine", pa.array(cosine))
            if part.num_rows > depth:
                least = np.partition(cosine, -depth)[-depth]
                seen = seen.filter(pa.array(cosine >= least))
            known = best[number]
            seen = seen if known is None else pa.concat_tables([known, seen])
            best[number] = seen.sort_by(order).slice(0, depth)
    return best, rows


def _names(lake: Lakehouse, batch: Batch, item_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the catalogue calls those items."""
    chosen = pc.field("item_id").isin(sorted(item_ids))
    table = lake.dataset("items", batch).to_table(NAMES, filter=chosen)
    return {row["item_id"]: row for row in table.to_pylist()}


def _shown(
    item_id: str, found: pa.Table, names: dict[str, dict[str, Any]], kind: str | None
) -> list[Neighbour]:
    """The item itself first, then the others of that kind."""
    rows = [_named(row, names.get(row["item_id"], {})) for row in found.to_pylist()]
    own = [row for row in rows if row.item_id == item_id]
    return own + [row for row in rows if row.item_id != item_id and kind in (None, row.kind)]


def _named(row: dict[str, Any], told: dict[str, Any]) -> Neighbour:
    creator = told.get("creator_name") or told.get("creator_id") or ""
    return Neighbour(
        **row, title=told.get("title") or "", creator=creator, kind=told.get("kind", "")
    )


def _missing(lake: Lakehouse, batch: Batch, item_id: str) -> str:
    """Why there is no vector, and which items may be meant."""
    if _names(lake, batch, [item_id]):
        return (
            f"item {item_id} has no vector in batch {batch.batch_id}: nobody had played it, and "
            "nothing that describes it is known of other items"
        )
    close: list[dict[str, Any]] = []
    for part in lake.dataset("items", batch).to_batches(NAMES):
        same = pc.match_substring(part["title"], item_id, ignore_case=True)
        close += part.filter(pc.fill_null(same, False)).slice(0, SUGGESTIONS).to_pylist()
    close = sorted(close, key=lambda row: (len(row["title"]), row["item_id"]))[:SUGGESTIONS]
    said = f"batch {batch.batch_id} has no item {item_id}"
    lines = [
        f"  {row['item_id']}  {row['title']}, {row['creator_name'] or row['creator_id'] or ''}"
        for row in close
    ]
    return "\n".join([f"{said}; did you mean", *lines]) if close else said
