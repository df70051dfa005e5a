"""Vectors of Parquet files as matrices, without a look at each number's place in its list.

Arrow reads a list column by the levels of its numbers, which for vectors costs several times what
copying them does. ``lakehouse.files`` writes the vectors of a row group as one page that is not
compressed, and says in the footer how long they all are. The numbers are then the last bytes of the
page, one after the other, and one read brings them. The files are Parquet as any other for whoever
reads them otherwise; and where anything is not as it has to be, Arrow reads them here as well.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

WIDTHS = b"tasteprint.widths"  # in the footer: JSON, numbers of a vector by column
LONGEST_HEADER = 256  # bytes of a page's header that are looked at
NUMBER = np.dtype("<f4")
I32 = 5  # as Thrift's compact protocol names the type
SEVEN_BITS, MORE = 0x7F, 0x80


def widths(footer: pq.FileMetaData) -> dict[str, int]:
    """How long the vectors of a file are, by column; of columns that can be read as matrices."""
    told = (footer.metadata or {}).get(WIDTHS)
    return json.loads(told) if told else {}


def read_vectors(
    source: pa.NativeFile, footer: pq.FileMetaData, group: int, column: str
) -> np.ndarray | None:
    """The vectors of a row group, (N, d) float32; None where Arrow has to read them.

    Args:
        source: the file.
        footer: of it.
        group: number of the row group.
        column: name of a list column.
    """
    width = widths(footer).get(column)
    chunk = _chunk(footer, group, f"{column}.list.element")
    if width is None or chunk is None:
        return None
    rows = footer.row_group(group).num_rows
    size, numbers = chunk.total_compressed_size, rows * width * NUMBER.itemsize
    if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        return None
    if chunk.num_values != rows * width or chunk.physical_type != "FLOAT":
        return None
    header = source.read_at(min(LONGEST_HEADER, size), chunk.data_page_offset)
    if not 0 < size - page_size(header) < LONGEST_HEADER:
        return None  # there is another page
    read = source.read_at(numbers, chunk.data_page_offset + size - numbers)
    return np.frombuffer(read, NUMBER).reshape(rows, width)


def _chunk(footer: pq.FileMetaData, group: int, path: str) -> pq.ColumnChunkMetaData | None:
    columns = footer.row_group(group)
    found = (columns.column(place) for place in range(columns.num_columns))
    return next((chunk for chunk in found if chunk.path_in_schema == path), None)


def page_size(header: bytes) -> int:
    """Bytes of a page without its header, 0 if this is no header of a page.

    The header is a struct of Thrift's compact protocol, which begins with three integers: the kind
    of the page, its size, and its size as it is stored (parquet.thrift, ``PageHeader``).
    """
    values, place = [], 0
    for _ in range(3):
        if place >= len(header) or header[place] != (1 << 4 | I32):
            return 0  # not the next field, or no integer
        value, shift, place = 0, 0, place + 1
        while place < len(header):
            byte = header[place]
            value |= (byte & SEVEN_BITS) << shift
            shift, place = shift + 7, place + 1
            if not byte & MORE:
                break
        values.append(value >> 1 ^ -(value & 1))  # zigzag
    return values[2]
