"""Which exports a lakehouse holds, and which of them no longer are what their batch has."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lakehouse.side_car import SIDE_CAR, read_side_car

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lakehouse.batch import Batch
    from lakehouse.side_car import SideCar
    from lakehouse.storage import Lakehouse

FOLDER, ASIDE = "exports", ".partial"
TABLE = "user_embeddings"


def rows_of(lake: Lakehouse, batch: Batch) -> str:
    """A hash of the files that hold a batch's user vectors: another one where any of them changed.

    Raises:
        BatchError: the batch has none.
    """
    names = sorted(uri.rsplit("/", 1)[-1] for uri in lake.files(TABLE, batch))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def exports_of(lake: Lakehouse, batch_id: str | None = None) -> dict[str, SideCar | None]:
    """Folders of exports below ``exports/`` of a lakehouse, of all batches or of one."""
    found = lake.filesystem.glob(f"{lake.uri}/{FOLDER}/{batch_id or '*'}/v*")
    names = sorted("/".join(path.rsplit("/", 2)[-2:]) for path in found)
    places = [f"{lake.uri}/{FOLDER}/{name}" for name in names]
    return {place: read_side_car(lake, place) for place in places}


def needless_exports(lake: Lakehouse, batches: Collection[Batch], hours: int) -> dict[str, str]:
    """Folders of exports that no longer are what a batch has, with the batch of each.

    What a process is writing at this moment is not among them.

    Args:
        lake: the lakehouse.
        batches: all of them.
        hours: that an export stays after its batch changed, unless that is retired.
    """
    kept = {batch.batch_id: batch for batch in batches if batch.state != "retired"}
    before = datetime.now(UTC) - timedelta(hours=hours)
    needless = {}
    for place, side_car in exports_of(lake).items():
        batch_id = place.rsplit("/", 2)[-2]
        batch = kept.get(batch_id)
        if batch is not None and (batch.updated_at > before or _is_of(lake, side_car, batch)):
            continue
        if not place.endswith(ASIDE) or not _is_written(place):
            needless[place] = batch_id
    return needless


def _is_of(lake: Lakehouse, side_car: SideCar | None, batch: Batch) -> bool:
    """Whether an export holds the rows that the batch has now."""
    has = side_car is not None and TABLE in batch.tables
    return has and side_car is not None and side_car.rows_sha256 == rows_of(lake, batch)


@contextmanager
def held(folder: str) -> Iterator[bool]:
    """Whether no other process holds a folder of this machine; it is this one's until the end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _is_written(folder: str) -> bool:
    with held(folder) as ours:
        return not ours


def remove_export(lake: Lakehouse, place: str) -> None:
    """Remove the folder of an export, the side-car first."""
    side_car = f"{place}/{SIDE_CAR}"
    if lake.filesystem.exists(side_car):
        lake.filesystem.rm(side_car)
    lake.filesystem.rm(place, recursive=True)
