"""A data contract and what follows from it: schema, key, row rules, expectation suite.

The YAML files in ``contracts/`` are Open Data Contract Standard v3.1. The library
``open-data-contract-standard`` parses them and ``datacontract-cli`` turns them into Great
Expectations suites; what is written here is only what those two do not do:

* Arrow schemas (neither exports one), from which Spark's follow;
* keys of several columns (the exporter calls each column of such a key unique by itself);
* vectors (the exporter passes over ``minItems`` of an array);
* rules about single rows, which ingest turns into reasons for quarantine.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pyarrow as pa
from open_data_contract_standard.model import (
    CustomProperty,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from schemas.errors import ContractError

ARROW_TYPES = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "array<string>": pa.list_(pa.string()),
    "array<float>": pa.list_(pa.float32()),
}
ROW_RULE_ENGINE = "tasteprintRow"

# What the gate adds beside a vector column, so that scalar expectations can speak of it.
LENGTH, NORM, FINITE = "__length", "__norm", "__finite"


@dataclass(frozen=True)
class RowRule:
    """A sentence about a bad row and the SQL condition that finds it."""

    reason: str
    where: str


@dataclass(frozen=True)
class Column:
    """One column of a contract."""

    name: str
    type_name: str
    required: bool
    description: str
    personal: bool
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
    def arrow_schema(self) -> pa.Schema:
        """The table's Arrow schema; columns that must be filled are not nullable."""
        return pa.schema([column.arrow for column in self.columns])

    @property
    def row_rules(self) -> list[RowRule]:
        """Rules about single rows that go beyond type, null, range and allowed values."""
        return [
            RowRule(reason=rule.description, where=rule.implementation["where"])
            for rule in self.table.quality or []
            if rule.engine == ROW_RULE_ENGINE
        ]

    @property
    def quarantined_share_max(self) -> float:
        """The largest share of refused rows with which a delivery still counts as good."""
        return float(_property(self.table.customProperties, "quarantinedShareMax") or 0.0)

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
        for column in self.columns:
            if column.name in schema.names and schema.field(column.name).type != column.arrow.type:
                seen = schema.field(column.name).type
                found.append(f"column {column.name} is {seen}, and should be {column.arrow.type}")
        return found

    def check(self, schema: pa.Schema) -> None:
        """Raise ContractError, listing all discrepancies at once, unless the schema fits."""
        found = self.discrepancies(schema)
        if found:
            raise ContractError(f"{self.name} does not fit its contract: " + "; ".join(found))

    def expectations(self) -> list[dict[str, Any]]:
        """The Great Expectations suite of the table, as a list of configurations."""
        from datacontract.export.great_expectations_exporter import to_great_expectations

        suite = json.loads(to_great_expectations(self.document, self.name))["expectations"]
        kept = [item for item in suite if not self._checked_elsewhere(item["type"])]
        if len(self.key) > 1:
            kept.append(
                {
                    "type": "expect_compound_columns_to_be_unique",
                    "kwargs": {"column_list": list(self.key)},
                    "description": f"{' and '.join(self.key)} together occur once",
                }
            )
        return kept + [item for column in self.columns for item in _vector_expectations(column)]

    def _checked_elsewhere(self, kind: str) -> bool:
        """Types and names are compared as Arrow schemas; keys of several columns as a whole."""
        return kind in {
            "expect_column_values_to_be_of_type",
            "expect_table_columns_to_match_set",
        } or (kind == "expect_column_values_to_be_unique" and len(self.key) > 1)


@functools.cache
def contract(table: str) -> Contract:
    """Load the contract of a table by its name.

    Raises:
        ContractError: there is none of that name.
    """
    path = resources.files(__package__) / "contracts" / f"{table}.yaml"
    if table not in contract_names():
        raise ContractError(f"no contract for {table!r}; there are {', '.join(contract_names())}")
    return Contract(OpenDataContractStandard.from_string(path.read_text()))


@functools.cache
def contract_names() -> tuple[str, ...]:
    """Names of all tables that have a contract, sorted."""
    folder = resources.files(__package__) / "contracts"
    return tuple(
        sorted(
            item.name.removesuffix(".yaml")
            for item in folder.iterdir()
            if item.name.endswith(".yaml")
        )
    )


def _column(item: SchemaProperty) -> Column:
    options = item.logicalTypeOptions or {}
    return Column(
        name=item.name,
        type_name=item.physicalType,
        required=bool(item.required),
        description=item.description,
        personal=item.classification == "personal",
        minimum=options.get("minimum"),
        maximum=options.get("maximum"),
        min_length=options.get("minLength"),
        allowed=tuple(_property(item.customProperties, "enum") or ()),
        length=(options.get("minItems"), options.get("maxItems")),
    )


def _property(properties: list[CustomProperty] | None, name: str) -> Any:
    return next((item.value for item in properties or [] if item.property == name), None)


def _vector_expectations(column: Column) -> list[dict[str, Any]]:
    """Length and finiteness of a vector, about the columns that the gate derives from it."""
    if not column.is_vector:
        return []
    found: list[dict[str, Any]] = [
        {
            "type": "expect_column_values_to_be_in_set",
            "kwargs": {"column": column.name + FINITE, "value_set": [True]},
            "description": f"{column.name} holds only finite numbers",
        }
    ]
    shortest, longest = column.length
    if shortest is not None or longest is not None:
        found.append(
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {
                    "column": column.name + LENGTH,
                    "min_value": shortest,
                    "max_value": longest,
                },
                "description": f"{column.name} holds {_amount(shortest, longest)} numbers",
            }
        )
    return found


def _amount(shortest: int | None, longest: int | None) -> str:
    if shortest == longest:
        return f"exactly {shortest}"
    return f"at least {shortest}" if longest is None else f"at most {longest}"
