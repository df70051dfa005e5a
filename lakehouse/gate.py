"""The gate: Great Expectations checks what was staged against the contract, before it counts.

The suite comes from the contract (``Contract.expectations``), and ``live_checks`` adds how the
table lies beside that of the live batch. Great Expectations knows no vectors, so each vector
column is seen through scalars that are derived beside it once: length, norm (null where it is not
finite), and whether all its numbers are finite. Up to ``ROWS_IN_MEMORY`` rows are checked by its
pandas engine, which takes a second where its Spark engine takes ten; beyond, by Spark.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial, reduce
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lakehouse.arrow import arrow_filesystem
from lakehouse.checks import Check, Verdict
from lakehouse.live_checks import live_checks
from lakehouse.overrides import with_overrides
from lakehouse.parts import READING, each_part
from lakehouse.steps import StepClock
from schemas.contract import FINITE, LENGTH, NORM, contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.parts import Spread
    from lakehouse.storage import Lakehouse
    from schemas.contract import Contract

ROWS_IN_MEMORY = 2_000_000
ROWS_AT_ONCE = 500_000  # of a part that is checked elsewhere
EXAMPLES = 5
ROW_COUNT = "expect_table_row_count_to_be_between"
NOT_A_BOUND = {"column", "column_list", "batch_id", "result_format"}


def audit(
    lake: Lakehouse,
    table: str,
    run_id: str,
    files: Sequence[str],
    spark: SparkSession | None,
    more: Sequence[Check] = (),
    spread: Spread | None = None,
) -> Verdict:
    """Check staged Parquet files against their contract and the live batch; write it all down.

    Args:
        lake: where ``validations`` is.
        table: name of the contract.
        run_id: the batch or the ingest that staged the files.
        files: Parquet files or one folder of them.
        spark: checks more than ``ROWS_IN_MEMORY`` rows; without it they go through memory, so many
            at a time.
        more: checks that the job has made by itself.
        spread: looks at parts of more rows than that on many hosts; files are cut by key.

    Raises:
        ContractError: the files do not have the columns and types of the contract.
    """
    clock = StepClock(lake, f"gate of {table}")
    places = [lake.filesystem._strip_protocol(name) for name in files]  # noqa: SLF001 - as Arrow names them
    staged = ds.dataset(places, format="parquet", filesystem=arrow_filesystem(lake.filesystem))
    contract(table).check(staged.schema)
    rows = staged.count_rows()
    if rows <= ROWS_IN_MEMORY:
        spark = spread = None
    checks = _contract_checks(table, staged, files, spark, spread)
    batch = next((one for one in lake.batches.list() if one.batch_id == run_id), None)
    if batch is not None:
        checks += live_checks(lake, table, batch.refreshed(), staged, spread)
    checks += more
    verdict = settled(lake, Verdict(run_id=run_id, table=table, rows=rows, checks=checks))
    clock.finish(run_id, rows_in=rows, rows_out=rows if verdict.outcome != "failed" else 0)
    return verdict


def settled(lake: Lakehouse, verdict: Verdict) -> Verdict:
    """The verdict with what people have overridden in it, written to ``validations``."""
    final = with_overrides(lake, verdict)
    now = datetime.now(UTC)
    shared = {"run_id": final.run_id, "table": final.table, "checked_at": now}
    rows = [{**shared, **check.model_dump()} for check in final.checks]
    schema = contract("validations").arrow_schema
    lake.append("validations", pa.Table.from_pylist(rows, schema=schema))
    return final


def _contract_checks(
    table: str,
    staged: ds.Dataset,
    files: Sequence[str],
    spark: SparkSession | None,
    spread: Spread | None,
) -> list[Check]:
    """What Great Expectations finds, over a profile that is read once."""
    if spark is None:
        # A key in two parts is not seen to be there twice: large tables are cut by their keys.
        most = ROWS_AT_ONCE if spread else ROWS_IN_MEMORY
        found = each_part(partial(seen_in, table=table), staged, most, spread)
        return [_check(reduce(Seen.and_in, seen)) for seen in zip(*found, strict=True)]
    scalars = spark_scalars(spark.read.parquet(*files), table).persist()
    try:
        seen = _validate(scalars, table, spark=True)  # which asks Spark once per expectation
    finally:
        scalars.unpersist()
    return [_check(one) for one in seen]


def seen_in(rows: ds.Dataset, table: str) -> list[Seen]:
    """What the suite of a contract finds in some rows, in the order of the suite."""
    frame = pandas_scalars(rows.to_batches(**READING), rows.schema, table)
    return _validate(frame, table, spark=False)


def pandas_scalars(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, table: str
) -> pd.DataFrame:
    """A pandas frame of a table's scalar columns and what the gate derives from its vectors."""
    nobody = pa.RecordBatch.from_pylist([], schema=schema)
    parts = [_without_vectors(batch, table) for batch in (nobody, *batches)]
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


def _validate(frame: Any, table: str, *, spark: bool) -> list[Seen]:
    """What the suite finds in a frame, in the order of the suite."""
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
    return [_seen(result, contract(table), frame) for result in found.results]


@dataclass(frozen=True)
class Seen:
    """What an expectation found in some rows.

    Attributes:
        config: of the expectation: type, kwargs, description, meta.
        success: whether it holds.
        rows, bad: of an expectation about rows: how many were looked at, how many break it.
        value: of one about the whole: what was observed.
        failure: why it could not be checked, if so.
        examples, worst: values that break it, and rows.
    """

    config: Mapping[str, Any]
    success: bool
    rows: int
    bad: int | None
    value: Any
    failure: str | None
    examples: list[str]
    worst: list[str]

    def and_in(self, other: Seen) -> Seen:
        """What it found in these rows and in others."""
        both = replace(
            self,
            success=self.success and other.success,
            rows=self.rows + other.rows,
            bad=None if self.bad is None else self.bad + (other.bad or 0),
            failure=self.failure or other.failure,
            examples=(self.examples + other.examples)[:EXAMPLES],
            worst=(self.worst + other.worst)[:EXAMPLES],
        )
        if self.config["type"] != ROW_COUNT:
            return both
        low, high = (self.config["kwargs"].get(name) for name in ("min_value", "max_value"))
        value = self.value + other.value
        within = (low is None or value >= low) and (high is None or value <= high)
        return replace(both, value=value, success=within)


def _seen(result: Any, agreed: Contract, frame: Any) -> Seen:
    told, seen = result.expectation_config, result.result
    config = {name: getattr(told, name) for name in ("type", "kwargs", "description", "meta")}
    failure = result.exception_info or {}
    raised = failure.get("raised_exception", False)
    return Seen(
        config=config,
        success=bool(result.success),
        # Great Expectations gives None for both where Spark found no rows.
        rows=seen.get("element_count") or 0,
        bad=(seen["unexpected_count"] or 0) if "unexpected_count" in seen else None,
        value=seen.get("observed_value", "see Great Expectations"),
        failure=f"{failure.get('exception_message')}" if raised else None,
        examples=[str(value) for value in (seen.get("partial_unexpected_list") or [])[:EXAMPLES]],
        worst=_worst(seen, told.kwargs.get("column"), agreed, frame),
    )


def _check(seen: Seen) -> Check:
    config, meta = seen.config, seen.config["meta"] or {}
    if seen.failure is not None:
        observed = f"could not be checked: {seen.failure}"
    elif seen.bad is not None:
        observed = f"{seen.bad:,} of {seen.rows:,} rows break it"
    else:
        observed = f"{seen.value}"
    return Check(
        check=meta.get("check", config["type"]),
        expectation=config["description"] or config["type"],
        column=config["kwargs"].get("column"),
        level=meta.get("level", "fail"),
        success=seen.success,
        expected=_bounds(config["kwargs"]),
        observed=observed,
        unexpected_count=seen.bad or 0,
        examples=seen.examples,
        worst=seen.worst,
    )


def _bounds(arguments: Mapping[str, Any]) -> str:
    """What an expectation allows, as its arguments say it."""
    told = {name: value for name, value in arguments.items() if name not in NOT_A_BOUND}
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in told.items() if value is not None
    )


def _worst(seen: Any, column: str | None, agreed: Contract, frame: Any) -> list[str]:
    """Keys of some rows that break an expectation, each with the value that does.

    Great Expectations tells places in a pandas frame; of Spark's rows it tells values alone.
    """
    places = (seen.get("partial_unexpected_index_list") or [])[:EXAMPLES]
    if not places:
        return []
    key = [name for name in agreed.key if name != "batch_id"]
    rows = frame.iloc[list(places)]
    named = [" / ".join(str(row[name]) for name in key) for _, row in rows.iterrows()]
    if column is None or column in key:
        return named
    return [f"{name} ({value})" for name, value in zip(named, rows[column], strict=True)]
