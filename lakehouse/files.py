"""Parquet files as our own processes write them: laid out to be read fast.

Vectors are nearly all bytes of the tables of users, and reading them is a good part of what it
costs to embed everyone (docs/benchmarks.md has each choice beside the defaults). The numbers of a
vector are never null, which saves a reader a look at each. LZ4 halves runs of zeros, which groups
that are missing leave, and is read as fast as no compression at all. Dictionaries and ranges of the
numbers take time and save nothing. A reader holds a row group at a time, so groups are small.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import filled
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakehouse.storage import Lakehouse

ROWS_IN_GROUP = 16_384
COMPRESSION = "lz4"


class TableFile:
    """A Parquet file of a table that is being written, in parts."""

    def __init__(self, file: object, table: str) -> None:
        self._file, self._table = file, table
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        """Add rows, in the columns and types of the contract; each call ends a row group."""
        tight = _tight(rows.combine_chunks())
        if self._writer is None:
            self._writer = _writer(self._file, tight.schema)
        self._writer.write_table(tight.cast(self._writer.schema), row_group_size=ROWS_IN_GROUP)
        self.rows += len(rows)

    def close(self) -> None:
        """Write what readers need to find the rows; a file may have none."""
        if self._writer is None:
            self._writer = _writer(self._file, contract(self._table).arrow_schema)
        self._writer.close()


@contextmanager
def table_file(lake: Lakehouse, table: str, name: str) -> Iterator[TableFile]:
    """Open a new file in a table's folder, where no reader looks before a commit names it.

    May be repeated: the file is there as a whole, or not at all.

    Args:
        lake: the lakehouse.
        table: name of the contract.
        name: path relative to the table's folder.
    """
    with lake.whole_file(f"{lake.table_uri(table)}/{name}") as file:
        target = TableFile(file, table)
        yield target
        target.close()


def write_file(lake: Lakehouse, table: str, name: str, rows: pa.Table) -> None:
    """Put one file into a table's folder; see ``table_file``."""
    with table_file(lake, table, name) as target:
        target.write(rows)


def _writer(file: object, schema: pa.Schema) -> pq.ParquetWriter:
    scalars = [field.name for field in schema if not pa.types.is_list(field.type)]
    return pq.ParquetWriter(
        file,
        schema,
        compression=COMPRESSION,
        use_dictionary=[name for name in scalars if name != "user_id"],  # each is another
        write_statistics=scalars,
    )


def _tight(rows: pa.Table) -> pa.Table:
    """The same rows; vectors that hold no null are of a type that cannot."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
            column = pa.chunked_array([filled(part) for part in rows.column(place).chunks])
            if column.num_chunks:
                rows = rows.set_column(place, field.with_type(column.type), column)
    return rows
