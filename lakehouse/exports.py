"""Vectors of a batch as files for other programs: where they lie, and how they are read.

::

    LAKEHOUSE/exports/BATCH/vVERSION/    or the same below another folder
      users-00000.parquet …     user_id, embedding, as_of, status
      users.npy                 a matrix to be memory-mapped
      users.arrow               their ids, in the order of its rows
      users.faiss               an index over those rows
      items-00000.parquet, items.npy, items.arrow, items.faiss     items, on the users' sphere
      export.json               the side-car, written last: without one there is no export

VERSION is that of ``user_embeddings`` when the export was made. Which rows they were is told by
the table's files, for a vacuum may give the same rows another version::

    export = Export.of(lake, "live")    # or Export.open("DIR")
    found = export.items.nearest(export.users.table(range(5)), 100)    # candidates of five users
    found.ids(0), found.products[0]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from lakehouse.ann import Ann
from lakehouse.export_folders import exports_of, rows_of
from lakehouse.side_car import SIDE_CAR, file_of, read_side_car
from lakehouse.space import batch_of, one_space
from lakehouse.storage import BATCH_ID, Lakehouse
from schemas.arrow import list_column, matrix
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.batch import Batch
    from lakehouse.side_car import File, Side, SideCar


@dataclass(frozen=True)
class Nearest:
    """What lies nearest to some vectors.

    Attributes:
        products: (Q, k) float32, nearest first.
        rows: (Q, k) int64 of the matrix; -1 for what an index did not find.
        all_ids: of all rows of the matrix.
    """

    products: np.ndarray
    rows: np.ndarray
    all_ids: pa.ChunkedArray

    def ids(self, query: int) -> list[str]:
        """The ids that were found for a query, nearest first."""
        rows = self.rows[query]
        found: list[str] = self.all_ids.take(pa.array(rows[rows >= 0])).to_pylist()
        return found


class Vectors:
    """The users or the items of an export, memory-mapped.

    Args:
        folder: of the export.
        name: users or items.
        side: what the side-car says of them.
        batch_id: whose space they lie in.

    Raises:
        MixedBatchesError: the ids are of another batch.
        InputError: a file is not there, or is not what the side-car speaks of.
    """

    def __init__(self, folder: Path, name: str, side: Side, batch_id: str) -> None:
        self.batch_id, self.side = batch_id, side
        self._place = folder / name
        self.vectors: np.ndarray = np.load(self._file(".npy"), mmap_mode="r")
        self._ids = pa.ipc.open_file(pa.memory_map(str(self._file(".arrow")))).read_all()
        one_space({batch_id, batch_of(self._ids) or batch_id})
        shape = (side.rows, side.size)
        if self.vectors.shape != shape or self._ids.num_rows != side.rows:
            raise InputError(
                f"{self._place}.npy has the shape {self.vectors.shape} and {self._ids.num_rows} "
                f"ids, and {SIDE_CAR} speaks of {shape}: export the batch again"
            )

    @property
    def ids(self) -> pa.ChunkedArray:
        """(N,) text, in the order of the vectors."""
        return self._ids.column(0)

    @cached_property
    def index(self) -> Ann:
        """The index over them.

        Raises:
            InputError: the export has none, or faiss is not installed.
        """
        if self.side.index is None:
            raise InputError(
                f"{self._place.parent} has no index: `tasteprint export --format faiss`"
            )
        return Ann.read(str(self._file(".faiss")), self.vectors, self.side.index.parameters)

    def table(self, rows: Sequence[int] | np.ndarray) -> pa.Table:
        """Some rows with their ids, marked with their batch as what the lakehouse reads is."""
        chosen = np.asarray(rows, np.int64)
        columns = {
            self._ids.column_names[0]: self.ids.take(pa.array(chosen)),
            "embedding": list_column(np.asarray(self.vectors[chosen], np.float32)),
        }
        return pa.table(columns).replace_schema_metadata({BATCH_ID: self.batch_id.encode()})

    def nearest(self, queries: pa.Table, count: int) -> Nearest:
        """The rows nearest to some vectors, by the index.

        Args:
            queries: with a column ``embedding``: of ``table``, or read from a lakehouse.
            count: of each.

        Raises:
            MixedBatchesError: the queries are of another batch.
        """
        one_space({self.batch_id, batch_of(queries) or self.batch_id})
        return Nearest(*self.index.search(matrix(queries["embedding"]), count), self.ids)

    def _file(self, suffix: str) -> Path:
        path = self._place.with_name(f"{self._place.name}{suffix}")
        told = next((file for file in self.side.files if file.name == path.name), None)
        if told is None or not path.is_file() or path.stat().st_size != told.size:
            raise InputError(
                f"{path} is not there as {SIDE_CAR} speaks of it: export the batch again, "
                "with `--format npy`"
            )
        return path


class Export:
    """An export in a folder of this machine, with the format npy.

    Args:
        folder: where ``export.json`` lies.
        side_car: what it says.
    """

    def __init__(self, folder: Path, side_car: SideCar) -> None:
        self.folder, self.side_car, self.batch_id = folder, side_car, side_car.batch_id

    @classmethod
    def open(cls, folder: str) -> Export:
        """The export of a folder.

        Raises:
            InputError: there is none, or not on this machine.
        """
        lake = Lakehouse(folder)
        if not isinstance(lake.filesystem, LocalFileSystem):
            raise InputError(f"{folder} cannot be memory-mapped: copy it to a disk first")
        side_car = read_side_car(lake, lake.uri)
        if side_car is None:
            raise InputError(f"{folder} has no {SIDE_CAR}, so there is no whole export in it")
        return cls(Path(lake.uri), side_car)

    @classmethod
    def of(cls, lake: Lakehouse, batch: Batch | str = "live") -> Export:
        """The export in a lakehouse of the rows that a batch has now.

        Raises:
            BatchError: there is no such batch.
            InputError: there is none, or not on this machine.
        """
        chosen = lake.batch(batch)
        rows = rows_of(lake, chosen)
        for place, side_car in exports_of(lake, chosen.batch_id).items():
            if side_car is not None and side_car.rows_sha256 == rows:
                return cls.open(place)
        raise InputError(
            f"what batch {chosen.batch_id} has now is not exported in {lake.uri}: "
            f"`tasteprint export {chosen.batch_id}`"
        )

    @cached_property
    def users(self) -> Vectors:
        """The users."""
        return Vectors(self.folder, "users", self.side_car.users, self.batch_id)

    @cached_property
    def items(self) -> Vectors:
        """The items.

        Raises:
            InputError: it has none.
        """
        if self.side_car.items is None:
            raise InputError(f"{self.folder} has no items")
        return Vectors(self.folder, "items", self.side_car.items, self.batch_id)

    def check(self) -> None:
        """Read every file, and raise InputError that names those that are not as they were made."""
        files = [file for side in self.side_car.sides.values() for file in side.files]
        broken = [file.name for file in files if not self._is_whole(file)]
        if broken:
            raise InputError(f"{self.folder}: {', '.join(broken)} changed since: export it again")

    def _is_whole(self, file: File) -> bool:
        path = self.folder / file.name
        return path.is_file() and file_of(path) == file
