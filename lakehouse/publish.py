"""Write, audit, publish: rows become visible in one commit, after the gate, or not at all.

Spark's tables are staged as Parquet, checked, and committed by ``delta-spark``; Ray's workers
write their Parquet files into the table's folder, where no reader looks before the commit names
them, and the driver makes that one commit. Each of the functions here may be repeated after a
crash at any point: a batch's partition is replaced or committed under a transaction name, never
added twice.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.transaction import AddAction

from lakehouse.batches import BatchRegistry
from lakehouse.gate import Verdict, audit
from lakehouse.report import write_report
from schemas.contract import contract
from schemas.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batches import Batch
    from lakehouse.storage import Lakehouse


def stage(lake: Lakehouse, table: str, frame: DataFrame, run_id: str) -> str:
    """Write a Spark DataFrame aside as Parquet, in the order of its contract; returns where."""
    place = lake.staging_uri(run_id, table)
    frame.select(*contract(table).column_names).write.mode("overwrite").parquet(place)
    return place


def audit_staged(lake: Lakehouse, table: str, run_id: str, spark: SparkSession) -> Verdict:
    """Check what a run has staged, and renew its report; raises nothing if the gate says no."""
    place = lake.staging_uri(run_id, table)
    files = lake.filesystem.glob(f"{place}/*.parquet")
    verdict = audit(lake, table, run_id, files, spark)
    write_report(lake, run_id)
    return verdict


def publish_frame(lake: Lakehouse, table: str, frame: DataFrame, batch: Batch) -> int:
    """Stage, audit and commit one Spark table of a batch; returns the number of rows.

    Raises:
        GateError: an expectation failed; the table is as it was.
    """
    require_building(batch)
    place = stage(lake, table, frame, batch.batch_id)
    verdict = audit_staged(lake, table, batch.batch_id, frame.sparkSession)
    verdict.require(lake.report_uri(batch.batch_id))
    lake.ensure(table)
    staged = frame.sparkSession.read.parquet(place)
    (
        staged.write.format("delta")
        .mode("overwrite")
        .option("replaceWhere", f"batch_id = '{batch.batch_id}'")
        .save(lake.table_uri(table))
    )
    _point(lake, table, batch, verdict)
    lake.filesystem.rm(place, recursive=True)
    return verdict.rows


def publish_files(lake: Lakehouse, table: str, files: Sequence[str], batch: Batch) -> int:
    """Audit and commit Parquet files that already lie in a table's folder; returns their rows.

    The files hold every column of the contract, ``batch_id`` included.

    Args:
        lake: the lakehouse.
        table: name of the contract.
        files: paths relative to the table's folder.
        batch: the batch they belong to.

    Raises:
        GateError: an expectation failed; the table is as it was.
        BatchError: the batch has published the table before, from other files.
    """
    require_building(batch)
    root = lake.table_uri(table)
    target = lake.ensure(table)
    verdict = audit(lake, table, batch.batch_id, [f"{root}/{name}" for name in files], spark=None)
    write_report(lake, batch.batch_id)
    verdict.require(lake.report_uri(batch.batch_id))
    transaction = f"{table}/{batch.batch_id}"
    if target.transaction_version(transaction) is not None:
        _require_same_files(target, table, files, batch)
    else:
        target.create_write_transaction(
            [_add_action(lake, root, name, batch.batch_id) for name in files],
            mode="append",
            schema=target.schema(),
            partition_by=["batch_id"],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app_id=transaction, version=1)],
                max_commit_retries=20,
            ),
        )
    _point(lake, table, batch, verdict)
    return verdict.rows


def _require_same_files(target: DeltaTable, table: str, files: Sequence[str], batch: Batch) -> None:
    """Raise BatchError if a batch's commit, which is made once, holds other files than these."""
    committed = target.file_uris([("batch_id", "=", batch.batch_id)])
    if {uri.rsplit("/", 1)[-1] for uri in committed} != {name.rsplit("/", 1)[-1] for name in files}:
        raise BatchError(
            f"batch {batch.batch_id} has published {table} from other files: its model or features "
            "were made anew since; open another batch with `tasteprint batches open`"
        )


def require_building(batch: Batch) -> None:
    """Raise BatchError unless the batch may still be written."""
    if batch.state != "building":
        raise BatchError(
            f"batch {batch.batch_id} is {batch.state}: only a batch that is building is written; "
            "open another with `tasteprint batches open`"
        )


def _point(lake: Lakehouse, table: str, batch: Batch, verdict: Verdict) -> None:
    version = lake.open(table).version()
    gate = "passed" if verdict.passed else "failed"
    BatchRegistry(lake).record(batch.batch_id, tables={table: version}, gates={table: gate})


def _add_action(lake: Lakehouse, root: str, name: str, batch_id: str) -> AddAction:
    info = lake.filesystem.info(f"{root}/{name}")
    with lake.filesystem.open(f"{root}/{name}") as file:
        footer = pq.ParquetFile(file).metadata
    return AddAction(
        path=name,
        size=info["size"],
        partition_values={"batch_id": batch_id},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(_statistics(footer)),
    )


def _statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Row count, and the range of each string or integer column, so that readers can skip files."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    untold = {"batch_id"}  # the log has the partition already
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
