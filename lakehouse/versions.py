"""Versions of a table made of Parquet files that lie in its folder already.

Why not Delta's own ``DELETE`` and ``RESTORE``: a condition is logged as it stands, with whatever it
names; what delta-rs writes has other types (``string_view``) and columns (no partition) than what
the jobs wrote, which Ray reads file by file; and what several versions share would be written anew
for each. So a file is rewritten once, as it was but for the rows, and one commit names the files of
a version.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.lease import committing
from lakehouse.publish import add_action, remove_action
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from deltalake.transaction import AddAction, RemoveAction

    from lakehouse.publish import Partition
    from lakehouse.storage import Lakehouse


class Files:
    """The files of one table, by their paths below its folder.

    Args:
        lake: the lakehouse.
        table: name of the contract.
    """

    def __init__(self, lake: Lakehouse, table: str) -> None:
        self._lake, self._table = lake, table
        self._root = lake.table_uri(table)

    def of(self, version: int | None = None, batch_id: str | None = None) -> list[str]:
        """The files of a version, the newest if None; all, or those of one batch's partition."""
        own = None if batch_id is None else [("batch_id", "=", batch_id)]
        uris = self._lake.open(self._table, version).file_uris(file_pruning_predicate=own)
        return sorted(uri.removeprefix(f"{self._root}/") for uri in uris)

    def put(self, names: Collection[str], batch_id: str | None = None) -> None:
        """Make a version of these files, in one commit; nothing is committed where it is that.

        Args:
            names: of files.
            batch_id: whose partition they are; the others stay as they are. None for all.
        """
        there = set(self.of(None, batch_id))
        actions: list[AddAction | RemoveAction] = [
            *(remove_action(name, _partition(name)) for name in sorted(there.difference(names))),
            *(
                add_action(self._lake, self._table, name, _partition(name))
                for name in sorted(set(names) - there)
            ),
        ]
        if not actions:
            return
        with committing(self._lake, self._table):
            target = self._lake.open(self._table)
            target.create_write_transaction(
                actions,
                mode="append",
                schema=target.schema(),
                partition_by=target.metadata().partition_columns,
            )

    def rewrite(self, name: str, gone: Callable[[pa.RecordBatch], pa.Array]) -> str | None:
        """Write a file without some of its rows beside it; returns its name, None if none is left.

        Args:
            name: of the file, which stays.
            gone: whether each row shall go, (N,) bool.
        """
        folder = name.rpartition("/")[0]
        new = f"{folder}/{uuid.uuid4().hex}.parquet".removeprefix("/")
        with self._lake.filesystem.open(f"{self._root}/{name}") as source:
            file = pq.ParquetFile(source, coerce_int96_timestamp_unit="us")
            schema = _typed(file.schema_arrow, self._table)
            with (
                self._lake.filesystem.open(f"{self._root}/{new}", "wb") as target,
                pq.ParquetWriter(target, schema) as writer,
            ):
                rows = 0
                for part in file.iter_batches():
                    kept = part.filter(pc.invert(gone(part)))
                    rows += kept.num_rows
                    if kept.num_rows:
                        writer.write_table(pa.Table.from_batches([kept]).cast(schema))
        return new if rows else None

    def parts(self, name: str, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Those of some columns that a file has."""
        with self._lake.filesystem.open(f"{self._root}/{name}") as source:
            yield from pq.ParquetFile(source).iter_batches(columns=list(columns))


def _partition(name: str) -> Partition:
    """What Delta calls the partition in which a file lies; none where the table is not cut."""
    folder, _, _ = name.rpartition("/")
    return {"batch_id": folder.removeprefix("batch_id=")} if folder else {}


def _typed(schema: pa.Schema, table: str) -> pa.Schema:
    """The file's columns in the types of the contract, which Spark can read."""
    agreed = contract(table).arrow_schema
    return pa.schema(
        [agreed.field(f.name).with_nullable(True) if f.name in agreed.names else f for f in schema],
        metadata=schema.metadata,
    )
