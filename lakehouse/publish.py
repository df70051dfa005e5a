"""Write, audit, publish: rows become visible in one commit, after the gate, or not at all.

Spark's tables are staged as Parquet, checked, and committed by ``delta-spark``. What is made of
NumPy arrays, by Ray's workers and by the tasks of the feature job, is written by them as Parquet
files into the table's folder, where no reader looks before the commit names them, and the driver
makes that one commit. Each of the functions here may be repeated after a crash at any point: a
batch's partition is replaced as a whole, never added to.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.transaction import AddAction, RemoveAction

from lakehouse.batches import BatchRegistry
from lakehouse.gate import audit
from lakehouse.lease import committing
from lakehouse.report import write_report
from schemas.contract import contract
from schemas.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.checks import Check, Verdict
    from lakehouse.parts import Spread
    from lakehouse.storage import Lakehouse

FOOTERS_AT_ONCE = 16
Partition = dict[str, str | None]  # as Delta names it: value by column


def stage(lake: Lakehouse, table: str, frame: DataFrame, run_id: str) -> str:
    """Write a Spark DataFrame aside as Parquet, in the order of its contract; returns where."""
    place = lake.staging_uri(run_id, table)
    frame.select(*contract(table).column_names).write.mode("overwrite").parquet(place)
    return place


def audit_staged(lake: Lakehouse, table: str, run_id: str, spark: SparkSession) -> Verdict:
    """Check what a run has staged, and renew its report; raises nothing if the gate says no."""
    place = lake.staging_uri(run_id, table)
    found = lake.filesystem.glob(f"{place}/*.parquet")
    files = [f"{place}/{path.rsplit('/', 1)[-1]}" for path in sorted(found)]
    verdict = audit(lake, table, run_id, files, spark)
    write_report(lake, run_id)
    return verdict


def publish_frame(lake: Lakehouse, table: str, frame: DataFrame, batch: Batch) -> int:
    """Stage, audit and commit one Spark table of a batch; returns the number of rows.

    Raises:
        GateError: a check failed; the table is as it was.
        BatchError: the batch may not be written, or an erasure has changed what it was made from.
    """
    require_writable(lake, batch)
    spark = frame.sparkSession
    place = stage(lake, table, frame, batch.batch_id)
    verdict = audit_staged(lake, table, batch.batch_id, spark)
    verdict.require(lake.report_uri(batch.batch_id))
    require_writable(lake, batch)
    with committing(lake, table):
        lake.ensure(table)
        (
            spark.read.parquet(place)
            .write.format("delta")
            .mode("overwrite")
            .option("replaceWhere", f"batch_id = '{batch.batch_id}'")
            .save(lake.table_uri(table))
        )
        _point(lake, table, batch, verdict)
    lake.filesystem.rm(place, recursive=True)
    return verdict.rows


def publish_files(
    lake: Lakehouse,
    table: str,
    files: Sequence[str],
    batch: Batch,
    spark: SparkSession | None = None,
    checks: Sequence[Check] = (),
    spread: Spread | None = None,
) -> int:
    """Audit and commit Parquet files that already lie in a table's folder; returns their rows.

    The files hold every column of the contract, ``batch_id`` included, and become all that the
    table has of the batch. Where they are that already, nothing is committed again.

    Args:
        lake: the lakehouse.
        table: name of the contract.
        files: paths relative to the table's folder.
        batch: the batch they belong to.
        spark: checks more rows than fit into memory.
        checks: what the job found out by itself, for the verdict.
        spread: runs parts of the audit on many hosts; see ``audit``.

    Raises:
        GateError: a check failed; the table is as it was.
        BatchError: the batch may not be written, or an erasure has changed what it was made from.
    """
    require_writable(lake, batch)
    root = lake.table_uri(table)
    target = lake.ensure(table)
    places = [f"{root}/{name}" for name in files]
    verdict = audit(lake, table, batch.batch_id, places, spark, checks, spread)
    write_report(lake, batch.batch_id)
    verdict.require(lake.report_uri(batch.batch_id))
    require_writable(lake, batch)
    partition: Partition = {"batch_id": batch.batch_id}
    own = [("batch_id", "=", batch.batch_id)]
    there = {uri.removeprefix(f"{root}/") for uri in target.file_uris(own)}
    if there != set(files):
        target.create_write_transaction(
            [
                *(remove_action(name, partition) for name in sorted(there.difference(files))),
                *add_actions(lake, table, sorted(set(files) - there), partition),
            ],
            mode="append",
            schema=target.schema(),
            partition_by=["batch_id"],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app_id=_transaction(table, files), version=1)],
                max_commit_retries=20,
            ),
        )
    _point(lake, table, batch, verdict)
    return verdict.rows


def _transaction(table: str, files: Sequence[str]) -> str:
    """A name by which the log knows these files: two processes cannot both commit them."""
    digest = hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()[:16]
    return f"{table}/{digest}"


def require_writable(lake: Lakehouse, batch: Batch) -> None:
    """Raise BatchError unless the batch may be written, from the inputs that the step has read."""
    now = BatchRegistry(lake).to_write(batch.batch_id)
    if batch.parents != now.parents:
        raise BatchError(
            f"the inputs of batch {batch.batch_id} have changed since this step began "
            "(a person was erased from them): run it again"
        )


def _point(lake: Lakehouse, table: str, batch: Batch, verdict: Verdict) -> None:
    version = lake.open(table).version()
    BatchRegistry(lake).record(
        batch.batch_id, tables={table: version}, gates={table: verdict.outcome}
    )


def add_actions(
    lake: Lakehouse, table: str, names: Sequence[str], partition: Partition
) -> list[AddAction]:
    """What a commit says of files that are new, several of which are opened at a time."""
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
        return list(threads.map(lambda name: add_action(lake, table, name, partition), names))


def remove_action(name: str, partition: Partition) -> RemoveAction:
    """What a commit says of a file that the newest version is to have no more."""
    return RemoveAction(
        path=name,
        data_change=True,
        deletion_timestamp=int(time.time() * 1000),
        partition_values=partition,
    )


def add_action(lake: Lakehouse, table: str, name: str, partition: Partition) -> AddAction:
    """What a commit says of a file: size, rows, and the ranges that are no personal ones."""
    place = f"{lake.table_uri(table)}/{name}"
    info = lake.filesystem.info(place)
    with lake.filesystem.open(place) as file:
        footer = pq.ParquetFile(file).metadata
    return AddAction(
        path=name,
        size=info["size"],
        partition_values=partition,
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(_statistics(footer, table)),
    )


def _statistics(footer: pq.FileMetaData, table: str) -> dict[str, Any]:
    """Row count, and the range of each string or integer column, so that readers can skip files.

    Personal columns have none: the log outlives a row that is erased.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    untold = {"batch_id", *contract(table).personal_columns}  # the partition is in the log already
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            name, seen = column.path_in_schema, column.statistics
            if seen is not None and seen.null_count == column.num_values:
                continue
            if seen is None or not seen.has_min_max or type(seen.min) not in (str, int):
                untold.add(name)  # a range of the other parts alone would hide this one's rows
                continue
            low[name] = min(low.get(name, seen.min), seen.min)
            high[name] = max(high.get(name, seen.max), seen.max)
    nested = {name for name in low if "." in name}
    for name in untold | nested:
        low.pop(name, None)
        high.pop(name, None)
    return {"numRecords": footer.num_rows, "minValues": low, "maxValues": high}
