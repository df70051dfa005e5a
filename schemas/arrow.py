"""Arrow types by the names contracts give them; the one way between columns and arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

ARROW_TYPES = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "array<string>": pa.list_(pa.string()),
    "array<float>": pa.list_(pa.float32()),
    "array<double>": pa.list_(pa.float64()),
    "array<int>": pa.list_(pa.int32()),
    "array<long>": pa.list_(pa.int64()),
}
WIDER = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}


def same_values(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types hold the same values, but for what may be null within lists."""
    if pa.types.is_list(one) and pa.types.is_list(other):
        return same_values(one.value_type, other.value_type)
    return one.equals(other)


def widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Whether every value of the first type is one of the second."""
    if pa.types.is_list(narrow) and pa.types.is_list(wide):
        return widens(narrow.value_type, wide.value_type)
    return narrow == wide or WIDER.get(narrow) == wide


def microseconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps as int64 microseconds since 1970."""
    return times.cast(ARROW_TYPES["timestamp"]).cast(pa.int64())


def list_column(matrix: np.ndarray) -> pa.ListArray:
    """A (N, d) matrix as N lists of d float32, without copying rows one by one."""
    rows, width = matrix.shape
    offsets = pa.array(np.arange(0, rows * width + 1, width, dtype=np.int32))
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    return pa.ListArray.from_arrays(offsets, flat)


def filled(column: pa.ListArray) -> pa.ListArray:
    """The same lists in a type whose numbers are never null, where none is; no number is copied."""
    lists = column.type
    if column.null_count or column.values.null_count or not lists.value_field.nullable:
        return column
    kind = pa.list_(pa.field(lists.value_field.name, lists.value_type, nullable=False))
    return pa.ListArray.from_arrays(column.offsets, column.values, type=kind)


def matrix(column: pa.ListArray | pa.ChunkedArray) -> np.ndarray:
    """N lists of d float32 as a (N, d) matrix.

    Raises:
        ValueError: the lists differ in length, or one is null.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    offsets = column.offsets.to_numpy()
    width = int(offsets[1] - offsets[0]) if len(column) else 0
    if column.null_count or (np.diff(offsets) != width).any():
        raise ValueError("not every row holds a vector of the same length")
    flat = column.values.to_numpy()[offsets[0] : offsets[-1]]
    return flat.astype(np.float32, copy=False).reshape(len(column), width)


def blob(values: np.ndarray) -> pa.BinaryArray:
    """A whole array as one binary value, for what travels between workers as it is."""
    return pa.array([np.ascontiguousarray(values).tobytes()], pa.binary())


def unblob(
    value: bytes, shape: tuple[int, ...] = (-1,), dtype: type[np.generic] = np.float32
) -> np.ndarray:
    """The array that a ``blob`` was made of; it cannot be written."""
    return np.frombuffer(value, dtype).reshape(shape)
