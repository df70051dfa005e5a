"""A data contract and what follows from it: schema, key, rules, checks, service level.

The YAML files in ``contracts/`` are Open Data Contract Standard v3.1; the library
``open-data-contract-standard`` parses them. What they say of a table is said nowhere else: Arrow
schema, Spark schema (``schemas.spark``), expectation suite (``schemas.expectations``) and
catalogue (``schemas.docs``) follow from them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from schemas.arrow import ARROW_TYPES, same_values, widens
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

ROW_RULE_ENGINE = "tasteprintRow"
LIVE_ENGINE = "tasteprintLive"
TIME_UNITS = {"d": "days", "h": "hours", "m": "minutes"}  # of a service level

# What the gate adds beside a vector column, so that scalar expectations can speak of it.
LENGTH, NORM, FINITE = "__length", "__norm", "__finite"


@dataclass(frozen=True)
class RowRule:
    """A sentence about a bad row and the SQL condition that finds it."""

    reason: str
    where: str


@dataclass(frozen=True)
class LiveCheck:
    """A comparison with the live batch; beyond ``warn`` it is said, beyond ``fail`` it stops.

    Attributes:
        check: which measure, such as ``row_count``.
        name: a sentence that holds where the check passes.
        description: what is measured, and why it matters.
        warn, fail: bounds on the measure; None where that level is not used.
        options: what else the measure needs to know, such as a column.
    """

    check: str
    name: str
    description: str
    warn: float | None
    fail: float | None
    options: dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a contract."""

    name: str
    type_name: str
    required: bool
    description: str
    classification: str | None
    unit: str | None
    minimum: float | None
    maximum: float | None
    min_length: int | None
    allowed: tuple[str, ...]
    length: tuple[int | None, int | None]

    @property
    def arrow(self) -> pa.Field:
        """The column as an Arrow field."""
        return pa.field(self.name, ARROW_TYPES[self.type_name], nullable=not self.required)

    @property
    def personal(self) -> bool:
        """Whether the column tells of a person."""
        return self.classification == "personal"

    @property
    def is_vector(self) -> bool:
        """Whether the column holds a list of float32."""
        return self.type_name == "array<float>"


class Contract:
    """The contract of one table.

    Args:
        document: a parsed ODCS file that describes exactly one table.
    """

    def __init__(self, document: OpenDataContractStandard) -> None:
        self.document = document
        self.table: SchemaObject = document.schema_[0]
        self.name: str = self.table.name
        self.columns = tuple(_column(item) for item in self.table.properties)
        keyed = [item for item in self.table.properties if item.primaryKey]
        self.key = tuple(
            item.name for item in sorted(keyed, key=lambda item: item.primaryKeyPosition or 0)
        )

    def __getitem__(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def column_names(self) -> list[str]:
        """Names of all columns, in the order of the contract."""
        return [column.name for column in self.columns]

    @property
    def personal_columns(self) -> tuple[str, ...]:
        """Names of the columns that tell of a person."""
        return tuple(column.name for column in self.columns if column.personal)

    @property
    def version(self) -> str:
        """MAJOR.MINOR.PATCH: breaking change, additive change, change of words."""
        return str(self.document.version)

    @property
    def owner(self) -> str | None:
        """The team that answers for the table."""
        return getattr(self.document.team, "name", None)

    @property
    def freshness(self) -> timedelta | None:
        """How old the newest row may be; None where rows come only when something happens."""
        for promised in self.document.slaProperties or []:
            if promised.property == "freshness":
                return timedelta(**{TIME_UNITS[promised.unit]: float(promised.value)})
        return None

    @property
    def stage(self) -> str | None:
        """Which part of the way the table belongs to, one of ``schemas.lint.STAGES``."""
        return next(iter(self.table.tags or []), None)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tables that this one is made from, or ``source files``."""
        return tuple(custom_property(self.table.customProperties, "inputs") or ())

    @property
    def written_by(self) -> str | None:
        """The program that writes the table."""
        return custom_property(self.table.customProperties, "writtenBy")

    @property
    def arrow_schema(self) -> pa.Schema:
        """The table's Arrow schema; columns that must be filled are not nullable."""
        return pa.schema([column.arrow for column in self.columns])

    @property
    def rules(self) -> list[DataQuality]:
        """Every quality rule, of the table first and then of its columns, as ODCS has them."""
        holders = [self.table, *self.table.properties]
        return [rule for holder in holders for rule in holder.quality or []]

    @property
    def row_rules(self) -> list[RowRule]:
        """Rules about single rows that go beyond type, null, range and allowed values."""
        return [
            RowRule(reason=rule.description, where=rule.implementation["where"])
            for rule in self._rules(ROW_RULE_ENGINE)
        ]

    @property
    def live_checks(self) -> list[LiveCheck]:
        """What is compared with the live batch before a batch may take its place."""
        return [_live_check(rule) for rule in self._rules(LIVE_ENGINE)]

    @property
    def quarantined_share_max(self) -> float:
        """The largest share of refused rows with which a delivery still counts as good."""
        return float(custom_property(self.table.customProperties, "quarantinedShareMax") or 0.0)

    def expectations(self) -> list[dict[str, Any]]:
        """The Great Expectations suite of the table, see ``schemas.expectations``."""
        from schemas.expectations import suite

        return suite(self)

    def discrepancies(self, schema: pa.Schema) -> list[str]:
        """Say each way in which a schema differs from this contract; an empty list if none."""
        found = [
            f"column {name} is missing" for name in self.column_names if name not in schema.names
        ]
        found += [
            f"column {name} is not in the contract"
            for name in schema.names
            if name not in self.column_names
        ]
        return found + self._mistyped(schema, same_values)

    def check(self, schema: pa.Schema) -> None:
        """Raise ContractError, listing all discrepancies at once, unless new rows fit exactly."""
        self._require(self.discrepancies(schema))

    def check_stored(self, schema: pa.Schema) -> None:
        """Raise ContractError unless rows of that schema can be read as rows of this contract.

        A table at rest may be older than its contract (a column that may be null is missing, a
        type is narrower) or newer (it has columns that this contract does not know).
        """
        missing = [
            f"column {column.name} is missing"
            for column in self.columns
            if column.required and column.name not in schema.names
        ]
        self._require(missing + self._mistyped(schema, widens))

    def additions(self, schema: pa.Schema) -> list[pa.Field]:
        """The columns that may be null and that a stored table lacks."""
        return [
            column.arrow
            for column in self.columns
            if column.name not in schema.names and not column.required
        ]

    def conform(self, rows: pa.Table) -> pa.Table:
        """Stored rows as rows of this contract: its columns, in order and in its types.

        Missing columns are null, narrower types are widened, unknown columns are dropped.

        Raises:
            ContractError: as ``check_stored``.
        """
        self.check_stored(rows.schema)
        columns = [
            rows[column.name].cast(column.arrow.type)
            if column.name in rows.column_names
            else pa.nulls(len(rows), column.arrow.type)
            for column in self.columns
        ]
        return pa.Table.from_arrays(columns, schema=self.arrow_schema)

    def _mistyped(
        self, schema: pa.Schema, fits: Callable[[pa.DataType, pa.DataType], bool]
    ) -> list[str]:
        both = [(schema.field(c.name).type, c) for c in self.columns if c.name in schema.names]
        return [
            f"column {column.name} is {seen}, and should be {column.arrow.type}"
            for seen, column in both
            if not fits(seen, column.arrow.type)
        ]

    def _require(self, found: list[str]) -> None:
        if found:
            raise ContractError(f"{self.name} does not fit its contract: " + "; ".join(found))

    def _rules(self, engine: str) -> list[DataQuality]:
        return [rule for rule in self.rules if rule.engine == engine]


FOLDER = resources.files(__package__) / "contracts"


@functools.cache
def contract(table: str) -> Contract:
    """Load the contract of a table by its name.

    Raises:
        ContractError: there is none of that name.
    """
    if table not in contract_names():
        raise ContractError(f"no contract for {table!r}; there are {', '.join(contract_names())}")
    return Contract(OpenDataContractStandard.from_string((FOLDER / f"{table}.yaml").read_text()))


@functools.cache
def contract_names() -> tuple[str, ...]:
    """Names of all tables that have a contract, sorted."""
    files = [item.name for item in FOLDER.iterdir() if item.name.endswith(".yaml")]
    return tuple(sorted(name.removesuffix(".yaml") for name in files))


def custom_property(properties: list[CustomProperty] | None, name: str) -> Any:
    """The value of a custom property of ODCS, None where it is not given."""
    return next((item.value for item in properties or [] if item.property == name), None)


def _column(item: SchemaProperty) -> Column:
    options = item.logicalTypeOptions or {}
    return Column(
        name=item.name,
        type_name=item.physicalType,
        required=bool(item.required),
        description=item.description,
        classification=item.classification,
        unit=custom_property(item.customProperties, "unit"),
        minimum=options.get("minimum"),
        maximum=options.get("maximum"),
        min_length=options.get("minLength"),
        allowed=tuple(custom_property(item.customProperties, "enum") or ()),
        length=(options.get("minItems"), options.get("maxItems")),
    )


def _live_check(rule: DataQuality) -> LiveCheck:
    said = dict(rule.implementation)
    return LiveCheck(
        check=said.pop("check"),
        name=rule.name,
        description=rule.description,
        warn=said.pop("warn", None),
        fail=said.pop("fail", None),
        options=said,
    )
