"""Writing an export: one pass over the rows for all formats, an index over what was written.

Files are written aside and moved when all are whole, the side-car last; a process that dies leaves
no export, and the same command makes it. Memory holds a few record batches, and the index.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fsspec.implementations.local import LocalFileSystem

from lakehouse.ann import Ann, faiss
from lakehouse.batch import READABLE
from lakehouse.erasure import require_no_erasure
from lakehouse.export_folders import ASIDE, FOLDER, TABLE, held, rows_of
from lakehouse.parts import READING
from lakehouse.recall import Truth, drawn, measure
from lakehouse.side_car import SIDE_CAR, Index, Side, SideCar, file_of, read_side_car
from lakehouse.storage import Lakehouse
from lakehouse.vector_files import write_vectors
from schemas.arrow import matrix
from schemas.errors import BatchError, InputError
from schemas.version import code_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa

    from lakehouse.batch import Batch
    from lakehouse.side_car import Asked, File

OF_A_USER = ["user_id", "embedding", "as_of", "status"]


def export(
    lake: Lakehouse,
    batch: Batch,
    asked: Asked,
    items: Callable[[], Iterable[pa.RecordBatch]] | None = None,
    out: str | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[str, SideCar, bool]:
    """Write the vectors of a batch as files for other programs.

    May be repeated after a crash at any point. What is there already, of the same rows and with all
    that is asked for, is not made again.

    Args:
        lake: the lakehouse.
        batch: a candidate, live or legacy.
        asked: formats, and how exact; an index brings the memory map that it is of.
        items: gives the items' places on the users' sphere: item_id, embedding.
        out: a folder or URI instead of ``exports/`` of the lakehouse.
        force: make it again in any case.
        say: is told what is done next.

    Returns:
        the folder, its side-car, and whether anything was made.

    Raises:
        BatchError: the batch is not one that may be read, changed meanwhile, or has no vectors.
        InputError: another process is writing the same export, or faiss is not installed.
    """
    require_no_erasure(lake)
    if batch.state not in READABLE:
        raise BatchError(
            f"batch {batch.batch_id} is {batch.state}: only one that has passed its gates and is "
            "not retired is exported"
        )
    rows_sha256 = rows_of(lake, batch)
    into = Lakehouse(out) if out else lake
    root = f"{into.uri}/{batch.batch_id}" if out else f"{lake.uri}/{FOLDER}/{batch.batch_id}"
    made = None if force else _made(into, root, rows_sha256, asked)
    if made:
        return (*made, False)
    place = f"{root}/v{batch.version_of(TABLE)}"
    before = read_side_car(into, place)
    if before and not force:
        asked = asked.beside(before.asked)
    if "faiss" in asked.formats:
        _require_index(lake, batch, asked)
    with _aside(into, place) as folder:
        sides = _sides(lake, batch, asked, items, folder, say)
        side_car = SideCar(
            batch_id=batch.batch_id,
            version=batch.version_of(TABLE),
            rows_sha256=rows_sha256,
            as_of=batch.as_of,
            made_at=datetime.now(UTC),
            code_version=code_version(),
            model_sha256=batch.model_sha256,
            asked=asked,
            **sides,
        )
        _require_unchanged(lake, side_car)
        _publish(into, place, folder, side_car)
    return place, side_car, True


def _require_index(lake: Lakehouse, batch: Batch, asked: Asked) -> None:
    """Raise InputError where no index can be made, before the first second of work."""
    faiss()
    dataset = lake.dataset(TABLE, batch)
    first = dataset.head(1, columns=["embedding"])
    if first.num_rows:
        asked.index.resolved(dataset.count_rows(), matrix(first["embedding"]).shape[1])


def _made(into: Lakehouse, root: str, rows_sha256: str, asked: Asked) -> tuple[str, SideCar] | None:
    """The export of the same rows that has what is asked for, whatever version it goes by."""
    for path in sorted(into.filesystem.glob(f"{root}/v*")):
        place = f"{root}/{path.rsplit('/', 1)[-1]}"
        side_car = read_side_car(into, place)
        if side_car and side_car.rows_sha256 == rows_sha256 and asked.met_by(side_car.asked):
            return place, side_car
    return None


def _sides(
    lake: Lakehouse,
    batch: Batch,
    asked: Asked,
    items: Callable[[], Iterable[pa.RecordBatch]] | None,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Side]:
    """Write users and items, and an index over each; both are searched with users."""
    say("write the vectors of users")
    dataset = lake.dataset(TABLE, batch)
    users = dataset.to_batches(columns=OF_A_USER, **READING)
    shapes = {"users": write_vectors(folder, "users", users, asked, batch.batch_id)}
    if items is not None:
        say("write the vectors of items")
        shapes["items"] = write_vectors(folder, "items", items(), asked, batch.batch_id)
    indexes = {}
    for name in shapes if "faiss" in asked.formats else ():
        say(f"index the {name}, and measure what it finds")
        indexes[name] = _indexed(folder, name, asked)
    return {
        name: Side(rows=rows, size=size, files=_files(folder, name), index=indexes.get(name))
        for name, (rows, size) in shapes.items()
    }


def _indexed(folder: Path, name: str, asked: Asked) -> Index:
    """Make the index of what was written, choose how it is searched, and measure that."""
    vectors = np.load(folder / f"{name}.npy", mmap_mode="r")
    users = np.load(folder / "users.npy", mmap_mode="r")
    rows = np.sort(drawn(len(users), asked.index))
    queries = np.asarray(users[rows], np.float32)
    began = time.perf_counter()
    ann = Ann.build(vectors, asked.index)
    took = time.perf_counter() - began
    truth = Truth.of(vectors, queries, rows if name == "users" else None)
    ann, measured = measure(ann, asked.index, truth, asked.recall, asked.recall_at)
    ann.write(str(folder / f"{name}.faiss"))
    return Index(parameters=ann.parameters, build_seconds=took, measured=measured)


def _files(folder: Path, name: str) -> tuple[File, ...]:
    return tuple(file_of(path) for path in sorted(folder.glob(f"{name}[-.]*")))


def _require_unchanged(lake: Lakehouse, side_car: SideCar) -> None:
    """Raise BatchError where somebody was erased, or a refresh ended, since the rows were read."""
    require_no_erasure(lake)
    batch = lake.batches.get(side_car.batch_id)
    if batch.state not in READABLE or rows_of(lake, batch) != side_car.rows_sha256:
        raise BatchError(
            f"batch {side_car.batch_id} changed while it was exported: give the same command again"
        )


@contextmanager
def _aside(into: Lakehouse, place: str) -> Iterator[Path]:
    """An empty folder of this machine, on the same disk where it can be.

    What a process that died has left in it is removed.
    """
    if not isinstance(into.filesystem, LocalFileSystem):
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere)
        return
    folder = Path(f"{place}{ASIDE}")
    folder.mkdir(parents=True, exist_ok=True)
    with held(str(folder)) as ours:
        if not ours:
            raise InputError(f"another process is writing {place}: wait until it has ended")
        for left in folder.iterdir():
            left.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _publish(into: Lakehouse, place: str, folder: Path, side_car: SideCar) -> None:
    """Put the files in the place of those that were there, and the side-car last."""
    files = into.filesystem
    files.makedirs(place, exist_ok=True)
    if files.exists(f"{place}/{SIDE_CAR}"):
        files.rm(f"{place}/{SIDE_CAR}")
    made = sorted(path.name for path in folder.iterdir())
    for path in files.find(place):
        if path.rsplit("/", 1)[-1] not in made:
            files.rm(path)
    for name in made:
        if isinstance(files, LocalFileSystem):
            os.replace(folder / name, f"{place}/{name}")  # noqa: PTH105 - the place is a URI's
        else:
            files.put_file(str(folder / name), f"{place}/{name}")
    into.write_text(f"{place}/{SIDE_CAR}", side_car.model_dump_json(indent=1))
