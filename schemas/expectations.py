"""The Great Expectations suite of a contract.

``datacontract-cli`` makes most of it. What is added is what it does not do:

* keys of several columns (it calls each column of such a key unique by itself);
* lists (it passes over ``minItems`` and ``maxItems``) and finite numbers;
* a name for each check that stays the same from run to run, and its level.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from schemas.contract import FINITE, LENGTH, NORM

if TYPE_CHECKING:
    from schemas.contract import Column, Contract

FAIL, WARN = "fail", "warn"
CHECKS = {
    "expect_column_values_to_not_be_null": "not_null",
    "expect_column_values_to_be_unique": "unique",
    "expect_column_value_lengths_to_be_between": "text_length",
    "expect_column_values_to_be_between": "range",
    "expect_column_values_to_match_regex": "pattern",
    "expect_column_values_to_be_in_set": "allowed",
}


def suite(agreed: Contract) -> list[dict[str, Any]]:
    """Configurations of all expectations of a table.

    Each says in words what is expected (``description``), and carries in ``meta`` the stable id of
    the check (``check``) and whether breaking it stops a run or is only said (``level``).
    """
    from datacontract.export.great_expectations_exporter import to_great_expectations

    exported = json.loads(to_great_expectations(agreed.document, agreed.name))["expectations"]
    kept = [
        _named(item, _check_id(item), _level(item))
        for item in exported
        if not _checked_elsewhere(item["type"], agreed)
    ]
    lists = [item for column in agreed.columns for item in _list_expectations(column)]
    return kept + _key_expectations(agreed) + lists


def _checked_elsewhere(kind: str, agreed: Contract) -> bool:
    """Types and names are compared as Arrow schemas; keys of several columns as a whole."""
    return kind in {
        "expect_column_values_to_be_of_type",
        "expect_table_columns_to_match_set",
    } or (kind == "expect_column_values_to_be_unique" and len(agreed.key) > 1)


def _named(item: dict[str, Any], check: str, level: str = FAIL) -> dict[str, Any]:
    return {**item, "meta": {"check": check, "level": level}}


def _check_id(item: dict[str, Any]) -> str:
    """``column.what``, or the rule's own id; a rule of the contract has an id, others a kind."""
    column = item["kwargs"].get("column", "").removesuffix(NORM).removesuffix(LENGTH)
    what = item["meta"].get("id") or CHECKS[item["type"]]
    return f"{column}.{what}" if column else what


def _level(item: dict[str, Any]) -> str:
    return WARN if item["meta"].get("severity") == "warning" else FAIL


def _key_expectations(agreed: Contract) -> list[dict[str, Any]]:
    if len(agreed.key) < 2:  # noqa: PLR2004  # a key of one column is unique by itself
        return []
    item = {
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": list(agreed.key)},
        "description": f"{' and '.join(agreed.key)} together occur once",
    }
    return [_named(item, "key.unique")]


def _list_expectations(column: Column) -> list[dict[str, Any]]:
    """Length of a list and finiteness of a vector, about the columns the gate derives from it."""
    found = []
    if column.is_vector:
        item = {
            "type": "expect_column_values_to_be_in_set",
            "kwargs": {"column": column.name + FINITE, "value_set": [True]},
            "description": f"{column.name} holds only finite numbers",
        }
        found.append(_named(item, f"{column.name}.finite"))
    shortest, longest = column.length
    if shortest is not None or longest is not None:
        bounds = {"min_value": shortest, "max_value": longest}
        item = {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": column.name + LENGTH, **bounds},
            "description": f"{column.name} holds {list_length(column)}",
        }
        found.append(_named(item, f"{column.name}.length"))
    return found


def list_length(column: Column) -> str:
    """How long a list must be, in words; its contract gives at least one bound."""
    shortest, longest = column.length
    one, many = ("number", "numbers") if column.is_vector else ("entry", "entries")
    what = one if (longest or shortest) == 1 else many
    if shortest == longest:
        return f"exactly {shortest} {what}"
    if shortest is None:
        return f"at most {longest} {what}"
    return f"at least {shortest} {what}" if longest is None else f"{shortest} to {longest} {what}"
