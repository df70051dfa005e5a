"""Reading what a batch reads, in Ray Data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.space import one_space

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    return ray.data.read_parquet(files, columns=wanted)  # Spark names the batch in the path alone


def join(left: Dataset, right: Dataset, on: str, partitions: int = 8) -> Dataset:
    """The inner join of two tables of one batch, each from ``read``.

    Raises:
        MixedBatchesError: they are of two batches; it names both.
    """
    one_space({row["batch_id"] for side in (left, right) for row in side.limit(1).take()})
    shared = set(right.schema().names) & set(left.schema().names) - {on}
    return left.join(right.drop_columns(sorted(shared)), "inner", partitions, on=(on,))
