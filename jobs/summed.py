"""Sums of matrices over the partitions of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from schemas.arrow import blob, unblob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyspark.sql import DataFrame

TOGETHER = 256 << 20  # bytes of shares that one process holds, the driver's among them


def summed(
    frame: DataFrame,
    share: Callable[[pa.RecordBatch], np.ndarray],
    shape: tuple[int, ...],
    dtype: type[np.floating] = np.float32,
) -> np.ndarray:
    """Add up what each Arrow batch contributes: by partition, in a tree, then on the driver.

    Always in the order of the partitions: a sum of floats depends on it in its last digit, and
    training would make more of that.

    Args:
        frame: rows; equal partitions in equal order give the same sum, bit for bit.
        share: what a batch contributes.
        shape: of a share.
        dtype: of what travels and of the result; a partition adds in float64.
    """
    at_once = max(2, TOGETHER // (int(np.prod(shape)) * np.dtype(dtype).itemsize))

    def partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros(shape)
        for batch in batches:
            if batch.num_rows:
                total += share(batch)
        yield pa.RecordBatch.from_pydict({"share": blob(total.astype(dtype))})

    def in_order(shares: Iterable[bytes]) -> np.ndarray:
        total = np.zeros(shape, dtype)
        for one in shares:
            total += unblob(one, shape, dtype)
        return total

    def together(part: pa.Table) -> pa.Table:
        part = part.sort_by("place")
        whole = in_order(value.as_py() for value in part["share"])
        columns = {"place": [part["place"][0].as_py() // at_once], "share": blob(whole)}
        return pa.table(columns, schema=pa.schema({"place": pa.int32(), "share": pa.binary()}))

    shares = frame.mapInArrow(partition, "share binary")
    shares = shares.select(F.spark_partition_id().alias("place"), "share")
    partitions = frame.rdd.getNumPartitions()
    while partitions > at_once:
        group = F.floor(F.col("place") / at_once)
        shares = shares.groupBy(group).applyInArrow(together, "place int, share binary")
        partitions = -(-partitions // at_once)
    return in_order(row["share"] for row in sorted(shares.collect()))
