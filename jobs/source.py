"""How somebody's files become our tables: the source file, and what can be known before Spark.

A source file names, for each contract it fills, the files and where each column comes from::

    name: my_shop
    description: Plays of the web player.
    tables:
      items:
        files: catalogue/*.parquet
        columns: {item_id: sku, kind: {constant: track}, genres: categories}
      listens:
        files: plays/*.csv
        columns:
          event_id: {hash_of: [user, sku, at]}
          user_id: user
          item_id: sku
          item_kind: {constant: track}
          played_at: {column: at, unit: s}
          ingested_at: {column: at, unit: s}

``check_source`` opens every file's head and lists all that is wrong at once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from schemas.contract import Column, contract, contract_names
from schemas.errors import InputError
from schemas.settings import complaints
from schemas.stores import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import fsspec

# What a source may fill, in order of need.
FILLED = ("items", "users", "onboarding", "listens", "playlists", "taste_edits")
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds
HEAD = 1 << 20  # bytes of a JSON file that show its columns
FORMATS = {"parquet": "parquet", "csv": "csv", "json": "json", "jsonl": "json"}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FromColumn(_Strict):
    """A column of the files, under our name and type."""

    column: str
    unit: Literal["s", "ms", "us"] | None = None
    """Unit of a number that becomes a time since 1970 or a duration."""
    split: str | None = None
    """What stands between the words of a text that becomes a list."""


class FromColumns(_Strict):
    """Several columns, side by side in a list."""

    columns: Annotated[list[str], Field(min_length=1)]


class Constant(_Strict):
    """The same value in every row."""

    constant: str | int | float | bool


class HashOf(_Strict):
    """An id made of what tells two rows apart."""

    hash_of: Annotated[list[str], Field(min_length=1)]


class LateBegin(_Strict):
    """Some histories begin later than the others: those of users whom a batch has never seen."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the histories, chosen by a hash of the column they lie within."""
    span: timedelta
    """Over which each of them is laid out, shorter than that of the others."""


class FromPosition(_Strict):
    """A time for histories that have an order and no clock.

    Each history ends at ``ends_at``; one position earlier is one ``step`` earlier, or, with a
    ``span``, all of each history is laid out evenly over that time, so that the last fifth of
    everybody's plays is the last fifth of it. Some of the users can be ``newcomers``.
    """

    position: str
    within: str
    ends_at: AwareDatetime
    step: timedelta | None = None
    span: timedelta | None = None
    newcomers: LateBegin | None = None

    @model_validator(mode="after")
    def _step_or_span(self) -> Self:
        if (self.step is None) == (self.span is None):
            raise ValueError("a position needs either a step or a span")
        if self.newcomers is not None:
            if self.span is None:
                raise ValueError("newcomers need a span: with a step, who plays less begins later")
            if not timedelta() < self.newcomers.span < self.span:
                raise ValueError("the newcomers' span must be above 0 and below everybody's")
        return self


class Now(_Strict):
    """The moment of the ingest."""

    now: Literal[True]


Origin = FromColumn | FromColumns | Constant | HashOf | FromPosition | Now


class Join(_Strict):
    """More columns, from another file, by a column that both have."""

    files: str
    by: str


class TableSource(_Strict):
    """How one table is filled."""

    files: str
    """Glob below the data folder: Parquet, CSV with a header, or JSON lines."""
    join: list[Join] = []
    """Files whose columns are put beside, where they have a row for it."""
    distinct: bool = False
    """Keep one row for each key; for a catalogue that is read off the events."""
    columns: dict[str, str | Origin]
    """Our column: theirs (a name), or how it comes about."""

    def origins(self) -> dict[str, Origin]:
        """Every column's origin, plain names spelled out."""
        return {
            name: FromColumn(column=origin) if isinstance(origin, str) else origin
            for name, origin in self.columns.items()
        }


class Source(_Strict):
    """A source file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    description: str = ""
    session_gap_minutes: float = 30.0
    """Silence that ends a session; longer for histories whose times are made up."""
    holdout_days: float = 7.0
    """Days at the end that a run keeps out of the batch, to test it on."""
    tables: dict[str, TableSource]


@dataclass(frozen=True)
class Delivery:
    """A source file and the files it stands for, looked at and found usable."""

    source: Source
    files: dict[str, list[str]]  # glob -> files
    ingest_id: str

    def of(self, pattern: str) -> list[str]:
        """The files behind one glob of the source."""
        return self.files[pattern]


def file_format(name: str) -> str:
    """``parquet``, ``csv`` or ``json``, by the ending of a file's name."""
    ending = name.rsplit(".", 1)[-1].lower()
    if ending not in FORMATS:
        raise InputError(f"{name}: no reader for .{ending}; there are {', '.join(FORMATS)}")
    return FORMATS[ending]


def check_source(source_file: str, data: str) -> Delivery:
    """Read a source file and look at the head of every file it names.

    Args:
        source_file: path of the YAML file.
        data: folder or URI that the globs are relative to.

    Raises:
        InputError: it cannot be used; the message lists everything that is wrong.
    """
    source = load_source(source_file)
    filesystem, root = filesystem_of(data)
    if not filesystem.isdir(root):
        raise InputError(f"--data {data} is no folder")
    wrong: list[str] = []
    files: dict[str, list[str]] = {}
    for table, spec in source.tables.items():
        schema = pa.schema([])
        for pattern in [spec.files, *(join.files for join in spec.join)]:
            found = filesystem.glob(f"{root.rstrip('/')}/{pattern}")
            files[pattern] = sorted(
                filesystem.unstrip_protocol(name).removeprefix("file://") for name in found
            )
            if not files[pattern]:
                wrong.append(f"{table}: no file matches {pattern} in {data}")
                continue
            heads = {name: _head(filesystem, name, wrong) for name in files[pattern]}
            wrong += _differences({name: head for name, head in heads.items() if head})
            schema = _side_by_side(schema, next(filter(None, heads.values()), pa.schema([])))
        wrong += mapping_faults(table, spec, schema)
    if wrong:
        listed = "\n".join(f"  - {line}" for line in wrong)
        raise InputError(f"{source_file} and {data} do not fit:\n{listed}")
    return Delivery(source, files, _fingerprint(filesystem, source, files))


def load_source(source_file: str) -> Source:
    """Parse a source file.

    Raises:
        InputError: it is missing, no YAML, or says something that no source can say.
    """
    try:
        filesystem, path = filesystem_of(source_file)
        with filesystem.open(path, "r") as file:
            source = Source.model_validate(yaml.safe_load(file))
    except OSError as error:
        raise InputError(f"the source file {source_file} cannot be read: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the source file {source_file} is no YAML: {error}") from error
    except ValidationError as error:
        listed = "\n".join(f"  - {line}" for line in complaints(error))
        raise InputError(f"the source file {source_file} is wrong:\n{listed}") from error
    unknown = [table for table in source.tables if table not in FILLED]
    if unknown or not {"items", "listens"} <= set(source.tables):
        raise InputError(
            f"the source file {source_file} must fill items and listens, and may fill "
            "users, onboarding, playlists and taste_edits"
            + (f"; it names {', '.join(unknown)}" if unknown else "")
        )
    return source


def _head(filesystem: fsspec.AbstractFileSystem, name: str, wrong: list[str]) -> pa.Schema | None:
    """Columns and types of a file; what is wrong with it is added to the list."""
    try:
        if filesystem.size(name) == 0:
            wrong.append(f"{name} is empty (0 bytes)")
            return None
        with filesystem.open(name, "rb") as file:
            kind = file_format(name)
            if kind == "parquet":
                parquet = pq.ParquetFile(file)
                if parquet.metadata.num_rows == 0:
                    wrong.append(f"{name} is empty (no rows)")
                return parquet.schema_arrow
            head = pa.BufferReader(_whole_lines(file.read(HEAD)))
            if kind == "json":
                return pa.json.read_json(head).schema
            table = pa.csv.read_csv(head)
            if table.num_rows == 0:
                wrong.append(f"{name} is empty (a header and no rows)")
            return pa.schema([(column, pa.string()) for column in table.column_names])
    except InputError as error:
        wrong.append(str(error))
        return None
    except (pa.ArrowException, OSError) as error:
        wrong.append(f"{name} cannot be read: {str(error).splitlines()[0]}")
        return None


def _differences(heads: dict[str, pa.Schema]) -> Iterator[str]:
    """Where the files of one glob differ; Spark reads them all as it reads the first.

    It takes the columns of CSV by their position, and a Parquet column of another type as an error.
    """
    first, agreed = next(iter(heads.items()), ("", pa.schema([])))
    kind = file_format(first) if first else ""
    for name, head in heads.items():
        if file_format(name) != kind:
            yield f"{name} is {file_format(name)} and {first} is {kind}: give each its own table"
        elif kind == "csv" and head.names != agreed.names:
            yield (
                f"{name} has the columns {', '.join(head.names)}, and {first} has "
                f"{', '.join(agreed.names)}: the same, in the same order, are needed"
            )
        elif kind == "parquet":
            one, other = ({field.name: _plain(field.type) for field in s} for s in (head, agreed))
            for column in one | other:
                if one.get(column) != other.get(column):
                    theirs, ours = one.get(column, "missing"), other.get(column, "missing")
                    yield f"{column!r} is {theirs} in {name}, and {ours} in {first}"


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without what only Arrow tells apart: Spark sees one kind of text."""
    return pa.string() if _is_text(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return (
        pa.types.is_string(value)
        or pa.types.is_large_string(value)
        or pa.types.is_string_view(value)
    )


def _whole_lines(head: bytes) -> bytes:
    return head if len(head) < HEAD else head[: head.rfind(b"\n") + 1]


def _side_by_side(left: pa.Schema, right: pa.Schema) -> pa.Schema:
    return pa.schema([*left, *(field for field in right if field.name not in left.names)])


def require_replayable(source: Source, tables: Iterable[str]) -> None:
    """Raise InputError where a refused row cannot be judged without the rest of its file."""
    for table in tables:
        if table not in source.tables:
            raise InputError(
                f"source {source.name} does not fill {table}, of which there are refused rows: "
                f"choose with --table among {', '.join(source.tables)}"
            )
        spec = source.tables[table]
        placed = any(isinstance(origin, FromPosition) for origin in spec.origins().values())
        if placed or spec.distinct:
            why = "a time by their position" if placed else "one row for each key (distinct)"
            raise InputError(
                f"refused rows of {table} cannot be replayed: source {source.name} gives its files "
                f"{why}, which a row alone does not tell; ingest the corrected files instead, "
                "which adds nothing twice, or choose other rows with --table"
            )


def replay_id(source: Source, row_ids: Iterable[str]) -> str:
    """An id that is the same for the same source, refused rows and contracts, and for no others."""
    return f"replay-{source.name}-{_digest(source, sorted(row_ids))}"


def mapping_faults(table: str, spec: TableSource, schema: pa.Schema) -> Iterator[str]:
    """Everything that is wrong with one table's mapping from such columns onto its contract."""
    agreed = contract(table)
    for column in agreed.columns:
        if column.required and column.name not in spec.columns:
            yield f"{table}.{column.name} must be filled, and the source does not say from where"
    for join in spec.join:
        if schema.names and join.by not in schema.names:
            yield f"{table}: no column {join.by!r} to join {join.files} on"
    for name, origin in spec.origins().items():
        if name in agreed.column_names:
            yield from _origin_faults(table, agreed[name], origin, schema)
        else:
            yield f"{table}.{name} is not in the contract" + _nearest(name, agreed.column_names)


def _origin_faults(table: str, column: Column, origin: Origin, schema: pa.Schema) -> Iterator[str]:
    """What is wrong with where one column comes from; nothing if the file could not be read."""
    for theirs in named_columns(origin) if schema.names else []:
        if theirs not in schema.names:
            yield (
                f"{table}.{column.name} should come from column {theirs!r}, which the files lack"
                + _nearest(theirs, schema.names)
            )
        elif isinstance(origin, FromColumn):
            yield from _type_faults(table, column, origin, schema.field(theirs).type)


def _type_faults(
    table: str, column: Column, origin: FromColumn, theirs: pa.DataType
) -> Iterator[str]:
    ours = column.arrow.type
    if pa.types.is_timestamp(ours):
        number = pa.types.is_integer(theirs) or pa.types.is_floating(theirs)
        if origin.unit is not None and pa.types.is_temporal(theirs):
            yield f"{table}.{column.name}: {origin.column!r} is a time already: leave out its unit"
        if number and origin.unit is None:
            yield (
                f"{table}.{column.name}: {origin.column!r} is a number ({theirs}); say its unit "
                "as {column: " + origin.column + ", unit: s} (or ms, us)"
            )
        fits = number or pa.types.is_temporal(theirs) or _is_text(theirs)
    elif pa.types.is_date(ours):
        fits = pa.types.is_temporal(theirs) or _is_text(theirs)
    elif pa.types.is_integer(ours):
        fits = not (pa.types.is_nested(theirs) or pa.types.is_temporal(theirs))
    elif pa.types.is_list(ours):
        fits = not pa.types.is_struct(theirs)
    else:
        fits = not pa.types.is_nested(theirs)
    if not fits:
        yield f"{table}.{column.name} is {ours}, which {origin.column!r} ({theirs}) cannot become"


def named_columns(origin: Origin) -> list[str]:
    """The columns of the files that an origin reads."""
    match origin:
        case FromColumn():
            return [origin.column]
        case FromColumns():
            return origin.columns
        case HashOf():
            return origin.hash_of
        case FromPosition():
            return [origin.position, origin.within]
        case _:
            return []


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"


def _fingerprint(
    filesystem: fsspec.AbstractFileSystem, source: Source, files: dict[str, list[str]]
) -> str:
    """An id that is the same for the same source, files and contracts, and for no others."""
    seen = [
        [name, filesystem.size(name), str(filesystem.modified(name))]
        for pattern in sorted(files)
        for name in files[pattern]
    ]
    return f"ingest-{source.name}-{_digest(source, seen)}"


def _digest(source: Source, read: list[Any]) -> str:
    """Twelve letters that stand for a source, what it reads, and the contracts it is read for."""
    versions = {name: contract(name).document.version for name in contract_names()}
    said = json.dumps([source.model_dump(mode="json"), read, versions], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]
