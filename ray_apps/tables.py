"""Reading what a batch reads, in Ray Data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsspec.implementations.local import LocalFileSystem

from lakehouse.arrow import arrow_filesystem
from lakehouse.space import one_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsspec import AbstractFileSystem
    from pyarrow import fs
    from ray.data import Dataset

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


def read(
    lake: Lakehouse,
    table: str,
    batch: Batch | str = "live",
    columns: Sequence[str] | None = None,
) -> Dataset:
    """The rows that a batch has published of a table; each holds its ``batch_id``.

    Args:
        lake: the lakehouse.
        table: name of the contract.
        batch: an id, ``live``, ``legacy``, or the batch itself.
        columns: all if None; ``batch_id`` is read in any case.
    """
    import ray

    files = lake.files(table, lake.batch(batch))
    wanted = sorted({*columns, "batch_id"}) if columns else None
    # Spark names the batch in the path alone.
    return ray.data.read_parquet(files, filesystem=ray_filesystem(lake.filesystem), columns=wanted)


def ray_filesystem(filesystem: AbstractFileSystem) -> fs.FileSystem | None:
    """What Ray reads and writes files with; None for those of this machine, which it knows.

    It travels to the workers without credentials: each finds its own, as Arrow does.
    """
    return None if isinstance(filesystem, LocalFileSystem) else arrow_filesystem(filesystem)


def join(left: Dataset, right: Dataset, on: str, partitions: int = 8) -> Dataset:
    """The inner join of two tables of one batch, each from ``read``.

    Raises:
        MixedBatchesError: they are of two batches; it names both.
    """
    one_space({row["batch_id"] for side in (left, right) for row in side.limit(1).take()})
    shared = set(right.schema().names) & set(left.schema().names) - {on}
    return left.join(right.drop_columns(sorted(shared)), "inner", partitions, on=(on,))
