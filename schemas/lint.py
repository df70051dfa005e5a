"""Whether contracts are complete: every finding at once.

``datacontract-cli`` says whether a file is ODCS; what is added here is what we ask of every table
beyond that: owner, service level, lineage, and for each column its unit and classification.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from open_data_contract_standard.model import OpenDataContractStandard

from schemas.arrow import ARROW_TYPES
from schemas.contract import LIVE_ENGINE, TIME_UNITS, Contract
from schemas.errors import ContractError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from schemas.contract import Column

STAGES = ("delivered", "features", "vectors", "records")
CLASSIFICATIONS = ("personal", "internal")
SOURCE_FILES = "source files"
SERVICE_LEVELS = ("freshness", "latency")
WITHOUT_UNIT = ("string", "boolean", "array<string>")
VERSION = re.compile(r"\d+\.\d+\.\d+")


def contract_files(place: Path) -> list[Path]:
    """The contracts in a folder, sorted, or the one file that was named.

    Raises:
        InputError: there are none.
    """
    files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    if not files or not files[0].is_file():
        raise InputError(f"no contracts in {place}: name a folder of YAML files, or one file")
    return files


def read_contracts(place: Path) -> list[Contract]:
    """Read the contracts of a folder, or the one file that was named.

    Raises:
        ContractError: a file is not ODCS; all of them are listed.
    """
    files = contract_files(place)
    _require([f"{file.name}: {reason}" for file in files for reason in not_odcs(file)])
    return [_read(file) for file in files]


def lint(place: Path) -> int:
    """Check a folder of contracts, or one file; returns how many contracts are complete.

    Raises:
        ContractError: something is missing or wrong; all findings are listed.
    """
    files = contract_files(place)
    wrong = {file: not_odcs(file) for file in files}
    sound = {file: _read(file) for file in files if not wrong[file]}
    tables = {agreed.name for agreed in sound.values()}
    for file, agreed in sound.items():
        wrong[file] = list(gaps(agreed))
        if agreed.name != file.stem:
            wrong[file].append(f"the file describes {agreed.name}, and should be named after it")
        if place.is_dir():
            wrong[file] += _unknown_tables(agreed, tables)
    _require([f"{file.name}: {finding}" for file in files for finding in wrong[file]])
    return len(files)


def not_odcs(file: Path) -> list[str]:
    """Every reason why a file is not a versioned contract of one table in the standard."""
    from datacontract.data_contract import DataContract

    logging.getLogger("datacontract").setLevel(logging.CRITICAL)  # it logs what it returns
    # To find all errors takes four times as long as to find none.
    run = DataContract(data_contract_file=str(file)).lint()
    if not run.has_passed():
        run = DataContract(data_contract_file=str(file), all_errors=True).lint()
    found = [check.reason for check in run.checks if check.result not in ("passed", "info")]
    if found:
        return found
    document = OpenDataContractStandard.from_file(str(file))
    if not VERSION.fullmatch(document.version):
        found.append(f"version {document.version} is not MAJOR.MINOR.PATCH")
    if len(document.schema_ or []) != 1:
        found.append(f"it describes {len(document.schema_ or [])} tables, and should describe one")
    return found


def gaps(agreed: Contract) -> Iterator[str]:
    """Say everything that a contract should tell and does not."""
    yield from _table_gaps(agreed)
    for column in agreed.columns:
        for finding in _column_gaps(column, agreed):
            yield f"column {column.name} {finding}"
    yield from _rule_gaps(agreed)


def _table_gaps(agreed: Contract) -> Iterator[str]:
    if not agreed.document.id == agreed.document.name == agreed.name:
        yield "id, name and the table's name differ"
    if not agreed.owner:
        yield "no owner: say team.name"
    if not agreed.table.description:
        yield "no description of the table"
    if agreed.stage not in STAGES:
        yield f"its first tag is {agreed.stage}, and should be one of {', '.join(STAGES)}"
    if not agreed.key and not agreed.table.dataGranularityDescription:
        yield "no key, and no dataGranularityDescription that says what a row is"
    if not agreed.inputs:
        yield f"no inputs: name the tables it is made from, or {SOURCE_FILES}"
    if not agreed.written_by:
        yield "no writtenBy: name the program that writes it"
    yield from _service_gaps(agreed)


def _service_gaps(agreed: Contract) -> Iterator[str]:
    promised = [
        item for item in agreed.document.slaProperties or [] if item.property in SERVICE_LEVELS
    ]
    if not promised:
        yield f"no service level: slaProperties needs {' or '.join(SERVICE_LEVELS)}"
    for item in promised:
        if item.unit not in TIME_UNITS:
            units = ", ".join(TIME_UNITS)
            yield f"{item.property} is in {item.unit}, and should be in one of {units}"
        table, _, column = (item.element or agreed.name).partition(".")
        if table != agreed.name or (column and column not in agreed.column_names):
            yield f"{item.property} speaks of {item.element}, which is not here"


def _column_gaps(column: Column, agreed: Contract) -> Iterator[str]:
    if column.type_name not in ARROW_TYPES:
        yield f"is {column.type_name}, and should be one of {', '.join(ARROW_TYPES)}"
    if not column.description:
        yield "has no description"
    if column.classification not in CLASSIFICATIONS:
        yield f"is classified {column.classification}: say {' or '.join(CLASSIFICATIONS)}"
    if column.type_name not in WITHOUT_UNIT and not column.unit:
        yield "has no unit: add the custom property unit"
    if column.name in agreed.key and not column.required:
        yield "is part of the key and may be null"


def _rule_gaps(agreed: Contract) -> Iterator[str]:
    for rule in agreed.rules:
        if not (rule.id and rule.name and rule.description):
            yield f"rule {rule.id or rule.name} needs an id, a name and a description"
        if rule.engine == LIVE_ENGINE and "check" not in (rule.implementation or {}):
            yield f"rule {rule.id or rule.name} does not name its check"


def _unknown_tables(agreed: Contract, tables: Iterable[str]) -> list[str]:
    compared = [check.options.get("table", agreed.name) for check in agreed.live_checks]
    named = {*agreed.inputs, *compared} - {SOURCE_FILES, *tables}
    return [f"it speaks of {table}, which has no contract" for table in sorted(named)]


def _read(file: Path) -> Contract:
    return Contract(OpenDataContractStandard.from_file(str(file)))


def _require(findings: Sequence[str]) -> None:
    if findings:
        raise ContractError("the contracts are not complete:\n  " + "\n  ".join(findings))
