"""Vectors as files of other programs, in one pass: Parquet, a matrix to be memory-mapped, ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.storage import BATCH_ID
from schemas.arrow import matrix
from schemas.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lakehouse.side_car import Asked

ROWS_PER_FILE = 1_000_000  # of Parquet; half a gigabyte


def write_vectors(
    folder: Path, name: str, parts: Iterable[pa.RecordBatch], asked: Asked, batch_id: str
) -> tuple[int, int]:
    """Write vectors in all formats but the index, in one pass; returns rows and width.

    Args:
        folder: that they are written to.
        name: what their files begin with.
        parts: with the id in the first column, and lists of one length as ``embedding``.
        asked: formats and dtype.
        batch_id: whose vectors.

    Raises:
        BatchError: there are none, or not all are of one length.
    """
    rows, width = 0, 0
    with ExitStack() as stack:
        writers: list[VectorFiles] = []
        for part in parts:
            if not part.num_rows:
                continue
            vectors = matrix(part["embedding"])
            if not writers:
                width = vectors.shape[1]
                writers = [
                    stack.enter_context(writer(folder, name, width, asked, batch_id))
                    for writer in _writers(asked)
                ]
            if vectors.shape[1] != width:
                raise BatchError(f"vectors of {name} in batch {batch_id} differ in length")
            for writer in writers:
                writer.write(part, vectors)
            rows += part.num_rows
    if not rows:
        raise BatchError(f"batch {batch_id} has no vectors of {name}")
    return rows, width


class VectorFiles(ABC):
    """The vectors of one side in one format, written a part at a time.

    Args:
        folder: that they are written to.
        name: what the files begin with.
        width: numbers of a vector.
        asked: formats and dtype.
        batch_id: whose vectors.
    """

    def __init__(self, folder: Path, name: str, width: int, asked: Asked, batch_id: str) -> None:
        self._folder, self._name, self._width = folder, name, width
        self._dtype = np.dtype(asked.dtype)
        self._metadata = {BATCH_ID: batch_id.encode()}
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_error: object) -> None:
        """Make the files whole."""

    @abstractmethod
    def write(self, part: pa.RecordBatch, vectors: np.ndarray) -> None:
        """Add rows; the vectors are those of the column ``embedding``, (rows, width) float32."""


class ParquetFiles(VectorFiles):
    """Files of at most ROWS_PER_FILE rows and a part, vectors as lists of a fixed width."""

    _files = 0
    _writer: pq.ParquetWriter | None = None

    def __exit__(self, *_error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, part: pa.RecordBatch, vectors: np.ndarray) -> None:
        """Add rows, to another file where this one is full."""
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        fixed = pa.FixedSizeListArray.from_arrays(flat, self._width)
        place = part.schema.get_field_index("embedding")
        fitted = part.set_column(place, "embedding", fixed)
        fitted = fitted.replace_schema_metadata(self._metadata)
        self._open(fitted.schema).write_batch(fitted)
        self._rows += part.num_rows

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None or self._rows >= ROWS_PER_FILE:
            self.__exit__()
            path = self._folder / f"{self._name}-{self._files:05d}.parquet"
            self._writer = pq.ParquetWriter(path, schema, use_dictionary=["status", "as_of"])
            self._files, self._rows = self._files + 1, 0
        return self._writer


class MapFiles(VectorFiles):
    """A matrix as ``.npy``, whose header is written again at the end, and ids as an Arrow file."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        path = self._folder / f"{self._name}.npy"
        self._matrix = self._stack.enter_context(path.open("wb"))
        self._ids: pa.RecordBatchFileWriter | None = None
        self._write_header()
        return self

    def __exit__(self, *_error: object) -> None:
        self._matrix.seek(0)
        self._write_header()
        self._stack.close()

    def write(self, part: pa.RecordBatch, vectors: np.ndarray) -> None:
        """Add rows, and their ids in the same order."""
        self._matrix.write(np.ascontiguousarray(vectors, self._dtype).data)
        ids = part.select([0]).cast(self._schema(part.schema.names[0]))
        if self._ids is None:
            path = self._folder / f"{self._name}.arrow"
            self._ids = self._stack.enter_context(pa.ipc.new_file(path, ids.schema))
        self._ids.write_batch(ids)
        self._rows += part.num_rows

    def _schema(self, name: str) -> pa.Schema:
        return pa.schema([pa.field(name, pa.string())], metadata=self._metadata)

    def _write_header(self) -> None:
        """As long whatever the rows, for NumPy leaves room for them to grow."""
        shape = (self._rows, self._width)
        told = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._matrix, told)


def _writers(asked: Asked) -> list[type[VectorFiles]]:
    needed = ((ParquetFiles, {"parquet"}), (MapFiles, {"npy", "faiss"}))
    return [writer for writer, formats in needed if formats & set(asked.formats)]
