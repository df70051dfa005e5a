"""Rows as they came to rows as the contract has them, each with every reason against it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from jobs.source import (
    UNITS,
    Constant,
    Delivery,
    FromColumn,
    FromColumns,
    FromPosition,
    HashOf,
    Now,
    Origin,
    TableSource,
    file_format,
)
from schemas.contract import Column as ContractColumn
from schemas.contract import contract
from schemas.stores import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

REASONS, RAW, FILE = "_reasons", "_raw", "_file"
MICROSECOND = timedelta(microseconds=1)
DRAWS = 1_000_000  # values of the hash that chooses some of the histories
NOT_JSON = (TimestampType, TimestampNTZType, BinaryType)  # to_json drops a time's microseconds


def read_table(spark: SparkSession, delivery: Delivery, spec: TableSource) -> DataFrame:
    """Read a table's files, joined where the source says so.

    Returns:
        the files' columns as struct ``_raw`` and the file's name as ``_file``.
    """
    frame = _read_files(spark, delivery.of(spec.files)).withColumn(
        FILE, F.col("_metadata.file_name")
    )
    for join in spec.join:
        beside = _read_files(spark, delivery.of(join.files)).dropDuplicates([join.by])
        frame = frame.join(beside, on=join.by, how="left")
    raw = [name for name in frame.columns if name != FILE]
    return frame.select(F.struct(*(F.col(f"`{name}`") for name in raw)).alias(RAW), FILE)


def _read_files(spark: SparkSession, files: list[str]) -> DataFrame:
    match file_format(files[0]):
        case "parquet":
            return _with_nanoseconds_as_times(spark.read.parquet(*files), files[0])
        case "csv":
            return spark.read.csv(files, header=True, mode="PERMISSIVE")
        case _:
            return spark.read.json(files, primitivesAsString=True, mode="PERMISSIVE")


def _with_nanoseconds_as_times(frame: DataFrame, file: str) -> DataFrame:
    """Spark reads Parquet's nanosecond times as numbers; make times of them, in microseconds."""
    filesystem, path = filesystem_of(file)
    with filesystem.open(path) as head:
        schema = pq.read_schema(head)
    for field in schema:
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            micros = F.expr(f"`{field.name}` div 1000")  # "/" would go through a double
            frame = frame.withColumn(field.name, F.timestamp_micros(micros))
    return frame


def judge(raw: DataFrame, table: str, spec: TableSource) -> DataFrame:
    """Map raw rows onto a contract and say what is wrong with each by itself.

    Args:
        raw: ``_raw`` and ``_file``, as ``read_table`` gives them, and what else shall be kept.
        table: name of the contract.
        spec: how the source fills it.

    Returns:
        the columns of ``raw``, those of the contract, and ``_reasons`` array<string>, empty for a
        good row.
    """
    agreed = contract(table)
    origins = spec.origins()
    came = cast("StructType", raw.schema[RAW].dataType)
    mapped = raw.select(
        "*",
        *(
            _value(origins.get(column.name), column, came).alias(column.name)
            for column in agreed.columns
        ),
    )
    if spec.distinct:
        mapped = mapped.dropDuplicates(list(agreed.key))
    found = [reason for c in agreed.columns for reason in _column_reasons(c, origins.get(c.name))]
    found += [F.when(F.expr(rule.where), F.lit(rule.reason)) for rule in agreed.row_rules]
    return mapped.withColumn(REASONS, F.array_compact(F.array(*found)))


def with_unknown_items(listens: DataFrame, items: DataFrame) -> DataFrame:
    """Add a reason to each listen whose ``item_id`` is no key of ``items``."""
    known = items.select("item_id", F.lit(True).alias("_known"))
    joined = listens.join(known, on="item_id", how="left")
    unknown = F.col("item_id").isNotNull() & F.col("_known").isNull()
    reason = _said("item_id is not in items", F.col("item_id"))
    return with_reason(joined, F.when(unknown, reason)).drop("_known")


def with_repeats(judged: DataFrame, table: str) -> DataFrame:
    """Add a reason to every row but one of each key: all but the first good one.

    Comes after all other reasons, for a bad row must not stand in a good one's way. Which row is
    first does not depend on the engine.
    """
    key = contract(table).key
    order = Window.partitionBy(*key).orderBy(F.size(REASONS) > 0, FILE, F.xxhash64(F.col(RAW)))
    again = (F.row_number().over(order) > 1) & F.col(key[0]).isNotNull()
    return with_reason(judged, F.when(again, F.lit(f"{' and '.join(key)} repeats another row's")))


def with_reason(judged: DataFrame, reason: Column) -> DataFrame:
    """Add one more reason, where it is not null."""
    return judged.withColumn(REASONS, F.concat(REASONS, F.array_compact(F.array(reason))))


def raw_json(judged: DataFrame) -> Column:
    """The row as it came, as JSON with every column, null ones too.

    Times are text as Spark casts them, to the microsecond, so that a row that is read back has the
    same hash for an id.
    """
    came = cast("StructType", judged.schema[RAW].dataType)
    values = [
        (_raw(f.name).cast("string") if isinstance(f.dataType, NOT_JSON) else _raw(f.name)).alias(
            f.name
        )
        for f in came.fields
    ]
    return F.to_json(F.struct(*values), {"ignoreNullFields": "false"})


def _value(  # noqa: PLR0911 - a return for each kind of origin
    origin: Origin | None, column: ContractColumn, raw: StructType
) -> Column:
    """The value of one of our columns, null where it does not fit the type."""
    target = _spark_type(column)
    match origin:
        case None:
            return F.lit(None).cast(target)
        case Constant():
            return F.lit(origin.constant).cast(target)
        case Now():
            return F.current_timestamp()
        case HashOf():
            parts = [F.coalesce(_raw(name).cast("string"), F.lit("")) for name in origin.hash_of]
            return F.substring(F.sha2(F.concat_ws("\u001f", *parts), 256), 1, 32)
        case FromColumns():
            values = F.array(*(_raw(name).try_cast("float") for name in origin.columns))
            return F.when(F.forall(values, lambda value: value.isNotNull()), values)
        case FromPosition():
            position = _raw(origin.position).try_cast("double")  # in text, 9 comes after 10
            back = _behind_last(position, origin)
            return F.timestamp_micros(
                (F.lit(int(origin.ends_at.timestamp() * 1e6)) - back).cast("long")
            )
        case FromColumn():
            return _from_column(origin, target, raw[origin.column].dataType)


def _behind_last(position: Column, origin: FromPosition) -> Column:
    """Microseconds between a play and the last one of its history."""
    history = Window.partitionBy(_raw(origin.within))
    last = F.max(position).over(history)
    if origin.step is not None:
        return (last - position) * int(origin.step / MICROSECOND)
    first, plays = F.min(position).over(history), F.count(position).over(history)
    # Of n plays the k-th from the end lies k/n of the span back: none lies on its beginning.
    share = (last - position) / F.greatest(last - first, F.lit(1.0)) * (1 - 1 / plays)
    return F.round(share * _span(origin))


def _span(origin: FromPosition) -> Column:
    """Microseconds over which a play's history is laid out."""
    whole = F.lit(int((origin.span or timedelta()) / MICROSECOND))
    late = origin.newcomers
    if late is None:
        return whole
    # Salted, for the same users shall not be those whom training validates on.
    drawn = F.pmod(F.xxhash64(_raw(origin.within).cast("string"), F.lit("newcomers")), F.lit(DRAWS))
    return F.when(drawn < round(late.share * DRAWS), int(late.span / MICROSECOND)).otherwise(whole)


def _from_column(origin: FromColumn, target: str, theirs: DataType) -> Column:
    value = _raw(origin.column)
    if origin.unit is not None:
        micros = value.try_cast("double") * UNITS[origin.unit]
        if target == "timestamp":
            return F.timestamp_micros(F.round(micros).try_cast("long"))  # a cast makes NaN 1970
        return F.round(micros / UNITS["ms"]).try_cast(target)  # durations are kept in ms
    if target.startswith("array") and not isinstance(theirs, ArrayType):
        words = F.split(value, re.escape(origin.split)) if origin.split else F.array(value)
        return F.when(value.isNotNull(), words.try_cast(target))
    return value.try_cast(target)


def _raw(name: str) -> Column:
    return F.col(RAW)[name]


def _spark_type(column: ContractColumn) -> str:
    return column.type_name  # the contract's physical types are Spark's


def _column_reasons(column: ContractColumn, origin: Origin | None) -> Iterator[Column]:
    """What may be wrong with one column's value, each null where it is not."""
    value = F.col(column.name)
    if isinstance(origin, FromColumn):
        came = _raw(origin.column)
        lost = came.isNotNull() & value.isNull()
        yield F.when(lost, _said(f"{column.name} is no {column.type_name}", came))
        if column.required:
            yield F.when(came.isNull(), F.lit(f"{column.name} is missing"))
    elif column.required:
        yield F.when(value.isNull(), F.lit(f"{column.name} is missing"))
    if column.minimum is not None:
        yield F.when(
            value < column.minimum, _said(f"{column.name} is below {column.minimum}", value)
        )
    if column.maximum is not None:
        yield F.when(
            value > column.maximum, _said(f"{column.name} is above {column.maximum}", value)
        )
    if column.min_length is not None:
        short = F.length(value) < column.min_length
        yield F.when(short, F.lit(f"{column.name} is shorter than {column.min_length}"))
    if column.allowed:
        listed = ", ".join(column.allowed)
        yield F.when(
            ~value.isin(*column.allowed), _said(f"{column.name} is none of {listed}", value)
        )
    if column.type_name.startswith("array"):
        yield from _list_reasons(column, value)


def _list_reasons(column: ContractColumn, value: Column) -> Iterator[Column]:
    """What would make the gate stop the whole table for the sake of one row."""
    if column.is_vector:
        odd = F.exists(value, lambda x: x.isNull() | F.isnan(x) | (F.abs(x) == float("inf")))
        yield F.when(odd, _said(f"{column.name} holds what is no finite number", value))
    shortest, longest = column.length
    size = F.size(value)  # -1 where there is no list
    if shortest is not None:
        few = f"{column.name} has fewer than {shortest} entries"
        yield F.when(size.between(0, shortest - 1), _said(few, size))
    if longest is not None:
        yield F.when(size > longest, _said(f"{column.name} has more than {longest} entries", size))


def _said(sentence: str, value: Column) -> Column:
    """A reason, and the value in brackets: what stands before the bracket is the kind of fault."""
    return F.concat(
        F.lit(f"{sentence} ("), F.coalesce(value.cast("string"), F.lit("null")), F.lit(")")
    )
