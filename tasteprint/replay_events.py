"""What a replay plays: listens of the lakehouse or of somebody's files, in order of time."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.event_codec import FILLED, LISTENS
from schemas.contract import contract
from schemas.errors import InputError
from tasteprint.replay_tally import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lakehouse.storage import Lakehouse

REASONS = "reasons"


@dataclass(frozen=True)
class Recorded:
    """Listens that were played once.

    Attributes:
        rows: the columns that a caller of the service fills, in order of ``played_at``.
        left_out: rows that do not fit their contract, by the kind of fault.
    """

    rows: pa.Table
    left_out: Counter[str] = field(default_factory=Counter)


def sent_columns() -> list[str]:
    """The columns of an event that its sender fills."""
    return [name for name in contract(LISTENS).column_names if name not in FILLED]


def of_lakehouse(lake: Lakehouse, begin: datetime | None) -> Recorded:
    """The newest listens of a lakehouse.

    Args:
        lake: the lakehouse.
        begin: played then or later; the moment of the live batch if None, for what it has not seen.

    Raises:
        BatchError: no batch is live, and no moment is given.
        InputError: there are no listens.
    """
    since = begin or lake.batches.get("live").as_of
    where = pc.field("played_at") >= _moment(since)
    rows = lake.rows(LISTENS, where, sent_columns())
    return Recorded(_in_order(rows, f"{lake.uri} from {since.isoformat()} on"))


def of_source(
    source: str, data: str, begin: datetime | None, read_listens: Callable[[list[str]], None]
) -> Recorded:
    """The listens of somebody's files, by the mapping that an ingest reads them by.

    On their way they lie in a folder that nobody else may open, and that is gone afterwards.

    Args:
        source: the source file.
        data: folder or URI of its files.
        begin: played then or later; all if None.
        read_listens: runs ``jobs/read_listens.py`` with those arguments.

    Raises:
        InputError: there are no good listens.
    """
    with tempfile.TemporaryDirectory(prefix="tasteprint-replay-") as folder:
        out = str(Path(folder) / LISTENS)
        read_listens(["--source", source, "--data", data, "--out", out])
        judged = pq.read_table(out)
    good = pc.equal(pc.list_value_length(judged[REASONS]), 0)
    left_out = Counter(map(kind_of, pc.list_flatten(judged[REASONS]).to_pylist()))
    rows = judged.filter(good).select(sent_columns())
    if begin is not None:
        rows = rows.filter(pc.greater_equal(rows["played_at"], _moment(begin)))
    return Recorded(_in_order(rows, data), left_out)


def narrowed(rows: pa.Table, users: int | None, limit: int | None) -> pa.Table:
    """The plays of the busiest users alone, and of those the first ones."""
    if users is not None:
        chosen = pc.is_in(rows["user_id"], value_set=pa.array(busiest(rows, users), pa.string()))
        rows = rows.filter(chosen)
    return rows.slice(0, limit)


def busiest(rows: pa.Table, count: int) -> list[str]:
    """The users with the most plays, the busiest first, by their ids where they are equal."""
    plays = rows.group_by("user_id").aggregate([("user_id", "count")])
    order = [("user_id_count", "descending"), ("user_id", "ascending")]
    found: list[str] = plays.sort_by(order)["user_id"].slice(0, count).to_pylist()
    return found


def _in_order(rows: pa.Table, where: str) -> pa.Table:
    if not len(rows):
        raise InputError(f"there are no listens to replay in {where}: give an earlier --from")
    schema = contract(LISTENS).arrow_schema
    typed = rows.cast(pa.schema([schema.field(name) for name in rows.column_names]))
    return typed.sort_by([("played_at", "ascending"), ("event_id", "ascending")])


def _moment(at: datetime) -> pa.Scalar:
    return pa.scalar(at, pa.timestamp("us", tz="UTC"))
