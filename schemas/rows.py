"""Single rows, as JSON brings them, judged by the contracts that Spark judges whole files by.

``jobs/judge.py`` says the same of the same rows, in the same words. Where a file is read as text
and cast, an event has types of its own, so this is stricter:

- Text is a JSON string and nothing else: a number is no id. A whole number is a JSON integer:
  neither ``"3"``, ``3.0`` nor ``true``. A truth is ``true`` or ``false``.
- A time is ISO 8601 text with a date, hours and minutes. Without a zone it is UTC.
- Text has at most ``LONGEST`` characters, no NUL, and is UTF-8: no half of a surrogate pair.
- A time lies in the years that nanoseconds of 64 bits can hold too, which pandas counts in.
- No column is given that the contract does not know, or that the receiver fills by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from schemas.errors import ContractError
from schemas.rules import Predicate, compile_rule

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from schemas.contract import Column, Contract, RowRule

# A value as it came to one of the column's type, or None; what is wrong is added to the list.
Reader: TypeAlias = Callable[[Any, list[str]], Any]

LONGEST = 1024  # characters of a text, which is more than any id or name
QUOTED = 64  # characters of a value that a reason quotes
EARLIEST, TOO_LATE = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
BITS = {"int": 32, "long": 64}
SAMPLES = {"string": "", "int": 0, "long": 0, "boolean": False, "timestamp": EARLIEST}
# fromisoformat takes weeks, dates alone and seconds of a zone too, which Spark does not.
TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    r"(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?"
)


class RowJudge:
    """Judges rows of one table.

    Args:
        agreed: the contract.
        filled: columns that the receiver fills, and nobody else may.

    Attributes:
        filled: those of them that the contract has, in its order.

    Raises:
        ContractError: a column has a type, or a rule a part, that only Spark can judge by.
    """

    def __init__(self, agreed: Contract, filled: Collection[str] = ()) -> None:
        self.filled = [name for name in agreed.column_names if name in filled]
        self._readers = {
            column.name: _refuse_given(column.name) if column.name in filled else _reader(column)
            for column in agreed.columns
        }
        self._times = [c.name for c in agreed.columns if c.type_name == "timestamp"]
        self._rules = [(_predicate(rule, agreed), rule.reason) for rule in agreed.row_rules]

    def judge(
        self, row: object, now: datetime, filled: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """Read a row and say everything that is wrong with it.

        Args:
            row: what JSON was parsed to; anything but an object is a reason too.
            now: the present moment, UTC.
            filled: the values of the columns that the receiver fills, times as datetimes in UTC.

        Returns:
            every column of the contract, in its order: None where nothing fits, and times as text
            (ISO 8601, UTC, microseconds, ``Z``); and the reasons, none for a good row.
        """
        if not isinstance(row, dict):
            return {}, [f"the row is no object ({_quoted(row)})"]
        reasons: list[str] = []
        values = {name: read(row.get(name), reasons) for name, read in self._readers.items()}
        for name in self.filled:
            values[name] = filled[name]
        reasons += [reason for breaks, reason in self._rules if breaks(values, now)]
        reasons += [
            f"{_shortened(name)} is not in the contract"
            for name in row
            if name not in self._readers
        ]
        is_bad = bool(reasons)  # of a bad row the rules have said so, and better
        for name in self._times:
            if (time := values[name]) is not None:
                values[name] = iso_text(time)
                if not is_bad and not EARLIEST <= time < TOO_LATE:
                    reasons.append(f"{name} lies outside of 1970 to 2261 ({values[name]})")
        return values, reasons


def iso_text(time: datetime) -> str:
    """A time in UTC as text of always the same length, so that text sorts as time does."""
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"


def _predicate(rule: RowRule, agreed: Contract) -> Predicate:
    """The rule as a function that never raises on rows of this contract."""
    breaks = compile_rule(rule.where)
    try:
        breaks({column.name: SAMPLES[column.type_name] for column in agreed.columns}, EARLIEST)
    except (KeyError, TypeError) as error:
        raise ContractError(
            f"the row rule {rule.where!r} does not fit the columns of {agreed.name}: {error}"
        ) from error
    return breaks


def _refuse_given(name: str) -> Reader:
    def read(value: Any, reasons: list[str]) -> None:
        if value is not None:
            reasons.append(f"{name} is filled by the receiver ({_quoted(value)})")

    return read


def _reader(column: Column) -> Reader:
    """The function that reads a column's values, null ones too."""
    match column.type_name:
        case "string":
            read = _text(column)
        case "int" | "long":
            read = _integer(column)
        case "boolean":
            read = _boolean(column)
        case "timestamp":
            read = _timestamp(column)
        case other:
            raise ContractError(f"{column.name} is {other}, of which no single value can be judged")
    missing = f"{column.name} is missing" if column.required else None

    def read_any(value: Any, reasons: list[str]) -> Any:
        if value is not None:
            return read(value, reasons)
        if missing:
            reasons.append(missing)
        return None

    return read_any


def _text(column: Column) -> Reader:
    name, shortest, allowed = column.name, column.min_length or 0, frozenset(column.allowed)
    listed = ", ".join(column.allowed)

    def read(value: Any, reasons: list[str]) -> str | None:
        if not isinstance(value, str):
            reasons.append(_misfit(column, value))
            return None
        if not value.isascii() and not _is_unicode(value):
            reasons.append(f"{name} has half of a surrogate pair ({_quoted(value)})")
            return None
        if "\0" in value:
            reasons.append(f"{name} has a NUL ({_quoted(value)})")
        if len(value) < shortest:
            reasons.append(f"{name} is shorter than {shortest}")
        elif len(value) > LONGEST:
            reasons.append(f"{name} is longer than {LONGEST}")
        if allowed and value not in allowed:
            reasons.append(f"{name} is none of {listed} ({_quoted(value)})")
        return value

    return read


def _integer(column: Column) -> Reader:
    name, least, most = column.name, column.minimum, column.maximum
    end = 1 << (BITS[column.type_name] - 1)

    def read(value: Any, reasons: list[str]) -> int | None:
        if type(value) is not int or not -end <= value < end:  # True is an int to isinstance
            reasons.append(_misfit(column, value))
            return None
        if least is not None and value < least:
            reasons.append(f"{name} is below {least} ({value})")
        if most is not None and value > most:
            reasons.append(f"{name} is above {most} ({value})")
        return value

    return read


def _boolean(column: Column) -> Reader:
    def read(value: Any, reasons: list[str]) -> bool | None:
        if not isinstance(value, bool):
            reasons.append(_misfit(column, value))
            return None
        return value

    return read


def _timestamp(column: Column) -> Reader:
    def read(value: Any, reasons: list[str]) -> datetime | None:
        if not isinstance(value, str) or not TIME.fullmatch(value):
            reasons.append(_misfit(column, value))
            return None
        try:
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        except (ValueError, OverflowError):  # no such day; a year that is 0 or 10000 in UTC
            reasons.append(_misfit(column, value))
            return None

    return read


def _misfit(column: Column, value: Any) -> str:
    return f"{column.name} is no {column.type_name} ({_quoted(value)})"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(value: Any) -> str:
    """A value as its JSON says it, for a person to find it by: nested ones only by their kind."""
    match value:
        case str():
            return _shortened(value)
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return _shortened(json.dumps(value))


def _shortened(text: str) -> str:
    """The beginning of a text, without what cannot be stored or would make lines of its own."""
    shown = text if len(text) <= QUOTED else f"{text[: QUOTED - 1]}…"
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown
    )
