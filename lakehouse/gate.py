"""The gate: Great Expectations checks what was staged against the contract, before it counts.

The suite comes from the contract (``Contract.expectations``). Great Expectations knows no
vectors, so each vector column is seen through scalars that are derived beside it once: length,
norm (null where it is not finite), and whether all its numbers are finite. Up to
``ROWS_IN_MEMORY`` rows are checked by its pandas engine, which takes a second where its Spark
engine takes ten; beyond, by Spark.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict

from schemas.contract import FINITE, LENGTH, NORM, contract
from schemas.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.storage import Lakehouse

ROWS_IN_MEMORY = 2_000_000
EXAMPLES = 5


class Check(BaseModel):
    """What one expectation found."""

    model_config = ConfigDict(frozen=True)

    expectation: str
    column: str | None
    success: bool
    observed: str
    unexpected_count: int
    examples: list[str]


class Verdict(BaseModel):
    """What the gate found about one table of one run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    table: str
    rows: int
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether every expectation held."""
        return all(check.success for check in self.checks)

    def require(self, report: str) -> None:
        """Raise GateError, naming each broken expectation and some values, unless all held."""
        if self.passed:
            return
        broken = "\n".join(
            f"  - {check.expectation}: {check.observed}"
            + (f", for example {', '.join(check.examples)}" if check.examples else "")
            for check in self.checks
            if not check.success
        )
        raise GateError(
            f"{self.table} did not pass its gate, and nothing of it was published:\n{broken}\n"
            f"  The whole report: {report}"
        )


def audit(
    lake: Lakehouse, table: str, run_id: str, files: Sequence[str], spark: SparkSession | None
) -> Verdict:
    """Check staged Parquet files against their contract and write the verdict down.

    Args:
        lake: where ``validations`` is.
        table: name of the contract.
        run_id: the batch or the ingest that staged the files.
        files: Parquet files or one folder of them.
        spark: used for more than ``ROWS_IN_MEMORY`` rows; without it all go through memory.

    Raises:
        ContractError: the files do not have the columns and types of the contract.
    """
    staged = ds.dataset(list(files), format="parquet", filesystem=pa_filesystem(lake))
    agreed = contract(table)
    agreed.check(staged.schema)
    rows = staged.count_rows()
    large = spark is not None and rows > ROWS_IN_MEMORY
    if large:
        frame: Any = spark_scalars(spark.read.parquet(*files), table)  # type: ignore[union-attr]
    else:
        frame = pandas_scalars(staged.to_batches(), table)
    verdict = Verdict(run_id=run_id, table=table, rows=rows, checks=_validate(frame, table, large))
    record(lake, verdict)
    return verdict


def record(lake: Lakehouse, verdict: Verdict) -> None:
    """Append a verdict to the ``validations`` table, one row per expectation."""
    now = datetime.now(UTC)
    shared = {"run_id": verdict.run_id, "table": verdict.table, "checked_at": now}
    rows = [{**shared, **check.model_dump()} for check in verdict.checks]
    lake.append(
        "validations", pa.Table.from_pylist(rows, schema=contract("validations").arrow_schema)
    )


def pandas_scalars(batches: Iterator[pa.RecordBatch], table: str) -> pd.DataFrame:
    """A pandas frame of a table's scalar columns and what the gate derives from its vectors."""
    parts = [_without_vectors(batch, table) for batch in batches]
    frame: pd.DataFrame = pa.Table.from_batches(parts).to_pandas()
    return frame


def _without_vectors(batch: pa.RecordBatch, table: str) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    for column in contract(table).columns:
        values = batch.column(column.name)
        if not pa.types.is_list(values.type):
            columns[column.name] = values
            continue
        length = pc.list_value_length(values)
        columns[column.name] = length  # stands for the list, so that nulls can be counted
        columns[column.name + LENGTH] = length
        if column.is_vector:
            norm = _norms(values)
            finite = np.isfinite(norm)
            columns[column.name + NORM] = pa.array(norm, mask=_nulls(values) | ~finite)
            columns[column.name + FINITE] = pa.array(finite, mask=_nulls(values))
    return pa.RecordBatch.from_pydict(columns)


def _nulls(values: pa.Array) -> np.ndarray:
    return np.asarray(values.is_null())


def _norms(values: pa.Array) -> np.ndarray:
    """Euclidean norm of each list, (N,) float64; not finite where any of its numbers is not."""
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    flat = values.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    owner = np.repeat(np.arange(len(values)), lengths)
    return np.sqrt(np.bincount(owner, weights=flat**2, minlength=len(values)))


def spark_scalars(frame: DataFrame, table: str) -> DataFrame:
    """The same columns as ``pandas_scalars``, as a Spark DataFrame."""
    from pyspark.sql import functions as F

    chosen = []
    for column in contract(table).columns:
        name = column.name
        if not column.type_name.startswith("array"):
            chosen.append(F.col(name))
            continue
        length = F.when(F.col(name).isNotNull(), F.size(name))
        chosen += [length.alias(name), length.alias(name + LENGTH)]
        if column.is_vector:
            squares = F.aggregate(name, F.lit(0.0), lambda total, x: total + x.cast("double") ** 2)
            norm = F.sqrt(squares)
            # A null among the numbers makes the norm null, which no expectation would see.
            finite = F.coalesce(~F.isnan(norm) & (norm < float("inf")), F.lit(False))
            chosen += [
                F.when(finite, norm).alias(name + NORM),
                F.when(F.col(name).isNotNull(), finite).alias(name + FINITE),
            ]
    return frame.select(*chosen)


def import_ahead() -> None:
    """Begin to import Great Expectations beside what comes first; it takes seconds."""
    Thread(target=_great_expectations, daemon=True).start()


def _great_expectations() -> ModuleType:
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import, which reads it
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx


def _validate(frame: Any, table: str, spark: bool) -> list[Check]:  # noqa: FBT001
    gx: Any = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = gx.ExpectationSuite(name=table, expectations=contract(table).expectations())
    source = (
        context.data_sources.add_spark(table) if spark else context.data_sources.add_pandas(table)
    )
    asset = source.add_dataframe_asset(table)
    definition = asset.add_batch_definition_whole_dataframe(table)
    batch = definition.get_batch({"dataframe": frame})
    found = batch.validate(suite, result_format={"result_format": "SUMMARY"})
    return [_check(result) for result in found.results]


def _check(result: Any) -> Check:
    config = result.expectation_config
    seen = result.result
    failure = result.exception_info or {}
    if failure.get("raised_exception", False):
        observed = f"could not be checked: {failure.get('exception_message')}"
    elif "unexpected_count" in seen:
        # Great Expectations gives None for both where Spark found no rows.
        rows, bad = seen["element_count"] or 0, seen["unexpected_count"] or 0
        observed = f"{bad:,} of {rows:,} rows break it"
    else:
        observed = f"{seen.get('observed_value', 'see Great Expectations')}"
    return Check(
        expectation=config.description or config.type,
        column=config.kwargs.get("column"),
        success=bool(result.success),
        observed=observed,
        unexpected_count=int(seen.get("unexpected_count") or 0),
        examples=[str(value) for value in (seen.get("partial_unexpected_list") or [])[:EXAMPLES]],
    )


def pa_filesystem(lake: Lakehouse) -> pa.fs.FileSystem:
    """The lakehouse's filesystem as Arrow's readers take it."""
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(lake.filesystem))
