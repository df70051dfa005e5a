"""A table's Parquet files, cut into parts that Spark's tasks read by themselves, with pyarrow.

Spark's own reader makes a row of the JVM of each play, and a socket takes it to Python: that was
half of the time of a feature run. What is at rest may be older or narrower than its contract
(``Contract.check_stored``), so rows come in the contract's types, whatever their file has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fsspec import AbstractFileSystem

PARTS_PER_CORE = 4  # so that nobody waits long for the last
SMALLEST, LARGEST = 2**20, 2**27  # bytes: 1 MB to begin a task for; 128 MB, as row groups are


class Part(NamedTuple):
    """One of so many equal parts of a file."""

    file: str
    number: int
    of: int


def cut(files: Mapping[str, int], cores: int) -> list[list[Part]]:
    """Deal files out to tasks: small ones together, of large ones a share each.

    Args:
        files: bytes by URI.
        cores: that will read at the same time.

    Returns:
        the parts of each task; every row group lies in one part of one task.
    """
    total = sum(files.values())
    most = min(max(total // (PARTS_PER_CORE * cores), SMALLEST), LARGEST)
    tasks: list[list[Part]] = []
    room = 0.0
    for file, size in sorted(files.items()):
        # A row group lies in one share: of a file of few, many shares would be empty.
        shares = max(round(size / LARGEST), 1)
        for number in range(shares):
            if not tasks or size / shares > room:
                tasks.append([])
                room = most
            tasks[-1].append(Part(file, number, shares))
            room -= size / shares
    return tasks


def tables(
    filesystem: AbstractFileSystem,
    parts: Sequence[Part],
    table: str,
    columns: Mapping[str, bool],
    rows: int,
) -> Iterator[pa.Table]:
    """The rows of some parts, in tables of about so many rows.

    Args:
        filesystem: of the files.
        parts: of files of one table.
        table: name of its contract.
        columns: some of the contract's, and whether each shall come as a dictionary of its words;
            nulls where a file lacks one.
        rows: after which a table ends.

    Yields:
        the columns in the contract's types.
    """
    agreed = contract(table).arrow_schema
    kinds = {
        name: pa.dictionary(pa.int32(), agreed.field(name).type)
        if in_words
        else agreed.field(name).type
        for name, in_words in columns.items()
    }
    held: list[pa.Table] = []
    for part in parts:
        for batch in _batches(filesystem, part, columns, rows):
            held.append(_typed(batch, pa.schema(kinds)))
            if sum(map(len, held)) >= rows:
                yield pa.concat_tables(held)
                held = []
    if held:
        yield pa.concat_tables(held)


def _batches(
    filesystem: AbstractFileSystem, part: Part, columns: Mapping[str, bool], rows: int
) -> Iterator[pa.RecordBatch]:
    footer = pq.read_metadata(part.file, filesystem=filesystem)
    there = [name for name in columns if name in footer.schema.to_arrow_schema().names]
    with pq.ParquetFile(
        part.file,
        metadata=footer,
        filesystem=filesystem,
        read_dictionary=[name for name in there if columns[name]],
        coerce_int96_timestamp_unit="us",
    ) as file:
        groups = file.num_row_groups
        own = range(part.number * groups // part.of, (part.number + 1) * groups // part.of)
        # The other cores have tasks of their own.
        yield from file.iter_batches(rows, list(own), there, use_threads=False)


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    columns = {
        field.name: _as(batch[field.name], field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    }
    return pa.table(columns, schema=schema)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind):
        return column.cast(kind)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    words = encoded.dictionary.cast(kind.value_type)  # also of numbers, views and large texts
    return pa.DictionaryArray.from_arrays(encoded.indices, words)
