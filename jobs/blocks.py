"""Rows through a shuffle in blocks: all of a bucket that a task has read, as one Arrow table.

Spark moves a row at a time, and to hand ten million of them over to Python again costs more than
everything that is computed from them. So each task sorts what it has read by bucket and sends one
row per bucket and kind of block: a few large pieces of bytes, which Spark's own shuffle carries,
spills and sends again like any other row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyspark.sql import DataFrame

    Cut = Callable[[int], pa.Array]  # the values of the bucket in that place

PLAYS, TOLD, TOUCHED = "plays", "told", "touched"  # kinds of blocks of users
BLOCKS = "bucket int, kind string, block binary"
SCHEMA = pa.schema({"bucket": pa.int32(), "kind": pa.string(), "block": pa.binary()})
OWNER = "user_id"  # whose hash the bucket is
FEW_WORDS = 1_000
ROWS_AT_ONCE = 1_000_000  # that are sorted together; more make fewer blocks and take more memory


def in_blocks(frame: DataFrame, kind: str, rows_at_once: int = ROWS_AT_ONCE) -> DataFrame:
    """A frame's rows as blocks, without a shuffle.

    Args:
        frame: with an int column ``bucket``, never null, below 2^15.
        kind: what these blocks are called where they arrive.
        rows_at_once: rows that one task sorts together.

    Returns:
        bucket, kind, block.
    """

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for some in _together(batches, rows_at_once):
            yield from packed(some, kind)

    return frame.mapInArrow(pack, BLOCKS)


def packed(rows: pa.Table, kind: str) -> Iterator[pa.RecordBatch]:
    """Rows as one block for each bucket among them.

    Text is sent as a dictionary of the bucket's own words and small integers.
    """
    bucket = rows["bucket"].to_numpy().astype(np.int16)
    order = np.argsort(bucket, kind="stable")  # a radix sort, for 16 bits
    bucket = bucket[order]
    begins = np.flatnonzero(np.diff(bucket, prepend=-1))
    ends = np.append(begins[1:], len(bucket))
    columns = {
        name: _cuts(name, rows.schema.field(name).type)(
            rows[name].combine_chunks(), order, begins, ends
        )
        for name in rows.column_names
        if name != "bucket"
    }
    for place, begin in enumerate(begins):
        cuts = [column(place) for column in columns.values()]
        block = pa.RecordBatch.from_arrays(cuts, names=list(columns))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, block.schema) as writer:
            writer.write_batch(block)
        whose = pa.array([bucket[begin]], pa.int32())
        held = sink.getvalue()
        ends_at = pa.py_buffer(np.array([0, held.size], np.int32))
        whole = pa.Array.from_buffers(pa.binary(), 1, [None, ends_at, held])
        yield pa.RecordBatch.from_arrays([whose, pa.array([kind]), whole], schema=SCHEMA)


def unpacked(blocks: Iterable[pa.RecordBatch]) -> dict[str, pa.Table]:
    """All blocks of a bucket put together again, by kind; the order of the rows is nobody's."""
    found: dict[str, list[pa.Table]] = {}
    for batch in blocks:
        for kind, block in zip(batch["kind"].to_pylist(), batch["block"], strict=True):
            with pa.ipc.open_stream(block.as_buffer()) as reader:
                found.setdefault(kind, []).append(_widened(reader.read_all()))
    return {
        kind: pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        for kind, tables in found.items()
    }


def _widened(block: pa.Table) -> pa.Table:
    """A block whose codes of text are wide enough for the words of all blocks together."""
    kinds = [
        pa.dictionary(pa.int32(), kind.value_type) if pa.types.is_dictionary(kind) else kind
        for kind in block.schema.types
    ]
    return block.cast(pa.schema(list(zip(block.column_names, kinds, strict=True))))


def _together(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= rows:
            yield pa.Table.from_batches(held)
            held = []
    if sum(one.num_rows for one in held):
        yield pa.Table.from_batches(held)


def _cuts(name: str, kind: pa.DataType) -> Callable[..., Cut]:
    if name == OWNER:
        return _owners
    return _words if pa.types.is_string(kind) or pa.types.is_dictionary(kind) else _plain


def _owners(column: pa.Array, order: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> Cut:
    """Cuts a column whose values each belong to one bucket: its words are sorted by bucket, too."""
    encoded = column.dictionary_encode()
    codes = encoded.indices.to_numpy()[order]
    place_of = np.full(len(encoded.dictionary), len(begins))  # words of no row come last
    place_of[codes] = np.repeat(np.arange(len(begins)), ends - begins)
    by_place = np.argsort(place_of, kind="stable")
    bounds = np.searchsorted(place_of[by_place], np.arange(len(begins) + 1))
    words, rank = encoded.dictionary.take(pa.array(by_place)), np.empty(len(by_place), np.int32)
    rank[by_place] = np.arange(len(by_place))
    codes = rank[codes]

    def cut(place: int) -> pa.Array:
        low, high = bounds[place], bounds[place + 1]
        own = pa.array(codes[begins[place] : ends[place]] - np.int32(low))
        return pa.DictionaryArray.from_arrays(own, words.slice(low, high - low))

    return cut


def _words(column: pa.Array, order: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> Cut:
    """Cuts a column of text; a bucket gets all words where they are few, or else its own."""
    encoded = column.dictionary_encode()
    few = len(encoded.dictionary) <= FEW_WORDS
    codes = encoded.indices.cast(pa.int16()) if few else encoded.indices
    codes = codes.take(pa.array(order))

    def cut(place: int) -> pa.Array:
        own = codes.slice(begins[place], ends[place] - begins[place])
        found = pa.DictionaryArray.from_arrays(own, encoded.dictionary)
        return found if few else found.dictionary_decode().dictionary_encode()

    return cut


def _plain(column: pa.Array, order: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> Cut:
    values = column.take(pa.array(order))

    def cut(place: int) -> pa.Array:
        return values.slice(begins[place], ends[place] - begins[place])

    return cut
