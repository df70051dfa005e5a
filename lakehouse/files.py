"""Parquet files as our own processes write them: laid out to be read fast.

Vectors are nearly all bytes of the tables of users, and reading them is a good part of what it
costs to embed everyone. The numbers of a vector are never null, which saves a reader a look at
each. Those of a row group are one page that is not compressed, and the footer says how long the
vectors are, so that ``lakehouse.vector_pages`` reads them at once. Dictionaries and ranges of the
numbers take time and save nothing. A reader holds a row group at a time, so groups are small; those
of features stay in a core's cache between being read and being embedded.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.vector_pages import WIDTHS
from schemas.arrow import filled
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakehouse.storage import Lakehouse

ROWS_IN_GROUP = 16_384
ROWS_IN_GROUP_OF = {"user_features": 2_048}
ONE_PAGE = 2**30  # bytes; more than a row group has
COMPRESSION = "lz4"  # of all but vectors


class TableFile:
    """A Parquet file of a table that is being written, in parts."""

    def __init__(self, file: object, table: str) -> None:
        self._file, self._table = file, table
        self._writer: pq.ParquetWriter | None = None
        self._widths: dict[str, int | None] = {}
        self._in_group = ROWS_IN_GROUP_OF.get(table, ROWS_IN_GROUP)
        self._waiting: list[pa.Table] = []
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        """Add rows, in the columns and types of the contract; they wait until a group is full."""
        self._waiting.append(rows)
        self.rows += len(rows)
        if sum(map(len, self._waiting)) >= self._in_group:
            self._flush()

    def _flush(self) -> None:
        tight = _tight(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting = []
        if self._writer is None:
            self._writer = _writer(self._file, tight.schema)
        self._writer.write_table(tight.cast(self._writer.schema), row_group_size=self._in_group)
        for name in _vector_columns(self._writer.schema):
            width = _width(tight[name])
            known = self._widths.setdefault(name, width)
            self._widths[name] = width if width == known else None

    def close(self) -> None:
        """Write what waits and what readers need to find the rows; a file may have none."""
        if not self._waiting and self._writer is None:
            self._waiting = [contract(self._table).arrow_schema.empty_table()]
        if self._waiting:
            self._flush()
        writer: Any = self._writer
        alike = {name: width for name, width in self._widths.items() if width}
        writer.add_key_value_metadata({WIDTHS: json.dumps(alike).encode()})
        writer.close()


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
    vectors = _vector_columns(schema)
    return pq.ParquetWriter(
        file,
        schema,
        compression={
            **dict.fromkeys(scalars, COMPRESSION),
            **{
                f"{field.name}.list.element": "none" if field.name in vectors else COMPRESSION
                for field in schema
                if pa.types.is_list(field.type)
            },
        },
        data_page_size=ONE_PAGE,
        use_dictionary=[name for name in scalars if name != "user_id"],  # each is another
        write_statistics=scalars,
    )


def _vector_columns(schema: pa.Schema) -> list[str]:
    """Columns whose lists hold 32-bit floats that are never null."""
    return [
        field.name
        for field in schema
        if pa.types.is_list(field.type)
        and field.type.value_type == pa.float32()
        and not field.type.value_field.nullable
    ]


def _width(column: pa.ChunkedArray) -> int | None:
    """How long the lists of a column are, None where they differ."""
    seen = pc.unique(pc.list_value_length(column))
    return seen[0].as_py() if len(seen) == 1 else None


def _tight(rows: pa.Table) -> pa.Table:
    """The same rows; vectors that hold no null are of a type that cannot."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
            column = pa.chunked_array([filled(part) for part in rows.column(place).chunks])
            if column.num_chunks:
                rows = rows.set_column(place, field.with_type(column.type), column)
    return rows
