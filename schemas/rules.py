"""Row rules of contracts, which are SQL conditions, as Python predicates over one row.

Spark judges whole files by these rules (``jobs/judge.py``); what takes single events has no Spark
and must say the same of each. SQL is parsed by sqlglot and compiled once to closures that know
three truths: what is compared with null is null, and a null condition is not true::

    breaks = compile_rule("played_at > current_timestamp() + INTERVAL 5 MINUTES")
    breaks({"played_at": datetime(2030, 1, 1, tzinfo=UTC)}, now)

There are columns, text, numbers, ``TIMESTAMP '…'``, ``INTERVAL`` up to weeks,
``current_timestamp()``, ``least``, ``greatest``, ``+``, ``-``, comparisons, ``IS [NOT] NULL``,
``NOT``, ``AND`` and ``OR``. As in every Spark session of ours, a time without a zone is UTC.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from schemas.errors import ContractError

Evaluated: TypeAlias = Callable[[Mapping[str, Any], datetime], Any]  # null is None
Predicate: TypeAlias = Callable[[Mapping[str, Any], datetime], bool]

SPANS = ("seconds", "minutes", "hours", "days", "weeks")  # months have no one length


def compile_rule(where: str) -> Predicate:
    """Compile a rule to a function that says whether a row breaks it.

    Args:
        where: the condition of a ``schemas.contract.RowRule``, in Spark's SQL.

    Returns:
        a function of a row and of the present moment. The row has every column that the rule
        names, as text, number, truth, datetime in UTC or None. What has no order, as text and
        time, raises TypeError where it is compared, and a column that is not there KeyError.

    Raises:
        ContractError: it is no SQL, or says what is not in the list above.
    """
    try:
        value = _compiled(sqlglot.parse_one(where, dialect="spark"))
    except SqlglotError as error:
        raise ContractError(f"the row rule {where!r} is no SQL condition: {error}") from error
    except _UnsupportedError as error:
        raise ContractError(
            f"the row rule {where!r} says {error}, by which only Spark can judge: "
            "say it with what schemas/rules.py lists, or add it there"
        ) from None
    return lambda row, now: value(row, now) is True


class _UnsupportedError(Exception):
    """A part of a rule that has no meaning here; the message is its SQL."""

    def __init__(self, node: exp.Expr) -> None:
        super().__init__(node.sql(dialect="spark"))


def _compiled(node: exp.Expr) -> Evaluated:
    """The value of any part of a rule."""
    if type(node) in COMPARISONS:
        return _of_two(node, COMPARISONS[type(node)])
    if type(node) not in PARTS:
        raise _UnsupportedError(node)
    return PARTS[type(node)](node)


def _of_two(node: exp.Expr, calculate: Callable[[Any, Any], Any]) -> Evaluated:
    """What two values give together: null where one is null."""
    left, right = _compiled(node.this), _compiled(node.expression)

    def value(row: Mapping[str, Any], now: datetime) -> Any:
        one, other = left(row, now), right(row, now)
        return None if one is None or other is None else calculate(one, other)

    return value


def _equal(one: Any, other: Any) -> bool:
    """Whether neither is less: unlike ``==``, this raises TypeError for text and a time."""
    return not (one < other or other < one)


def _unequal(one: Any, other: Any) -> bool:
    return bool(one < other or other < one)


def _within_years(calculate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Null where a time would leave the years 1 to 9999, as no time of a good row does."""

    def calculated(one: Any, other: Any) -> Any:
        try:
            return calculate(one, other)
        except OverflowError:
            return None

    return calculated


def _joined(node: exp.Expr, *, decisive: bool) -> Evaluated:
    """``AND``, which one false decides, or ``OR``, which one true does; else null wins."""
    left, right = _compiled(node.this), _compiled(node.expression)

    def value(row: Mapping[str, Any], now: datetime) -> bool | None:
        one, other = left(row, now), right(row, now)
        if one is decisive or other is decisive:
            return decisive
        return None if one is None or other is None else not decisive

    return value


def _negated(node: exp.Expr) -> Evaluated:
    value = _compiled(node.this)

    def negated(row: Mapping[str, Any], now: datetime) -> bool | None:
        one = value(row, now)
        return None if one is None else not one

    return negated


def _is_null(node: exp.Expr) -> Evaluated:
    if not isinstance(node.expression, exp.Null):
        raise _UnsupportedError(node)
    value = _compiled(node.this)
    return lambda row, now: value(row, now) is None


def _chosen(node: exp.Expr, choose: Callable[[list[Any]], Any]) -> Evaluated:
    """The first or last of some values; nulls are passed over, as by Spark."""
    values = [_compiled(one) for one in (node.this, *node.expressions)]

    def value(row: Mapping[str, Any], now: datetime) -> Any:
        there = [one for one in (value(row, now) for value in values) if one is not None]
        return choose(there) if there else None

    return value


def _column(node: exp.Expr) -> Evaluated:
    name = node.name
    return lambda row, _now: row[name]


def _constant(value: Any) -> Evaluated:
    return lambda _row, _now: value


def _literal(node: exp.Expr) -> Evaluated:
    if node.args["is_string"]:
        return _constant(node.name)
    return _constant(int(node.name) if node.name.isdigit() else float(node.name))


def _timestamp(node: exp.Expr) -> Evaluated:
    """``TIMESTAMP '…'``, which sqlglot has as the cast of a text."""
    if not (isinstance(node.this, exp.Literal) and node.args["to"].this is TIMESTAMP):
        raise _UnsupportedError(node)
    try:
        time = datetime.fromisoformat(node.this.name)
    except ValueError:
        raise _UnsupportedError(node) from None
    return _constant(time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC))


def _interval(node: exp.Expr) -> Evaluated:
    unit = f"{node.text('unit').lower().removesuffix('s')}s"
    if unit not in SPANS:
        raise _UnsupportedError(node)
    try:
        return _constant(timedelta(**{unit: float(node.this.name)}))
    except (ValueError, OverflowError):
        raise _UnsupportedError(node) from None


TIMESTAMP = exp.DType.TIMESTAMPTZ  # Spark's TIMESTAMP is a moment
COMPARISONS: dict[type[exp.Expr], Callable[[Any, Any], bool]] = {
    exp.EQ: _equal,
    exp.NEQ: _unequal,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}
PARTS: dict[type[exp.Expr], Callable[[exp.Expr], Evaluated]] = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Cast: _timestamp,
    exp.Interval: _interval,
    exp.CurrentTimestamp: lambda _node: lambda _row, now: now,
    exp.Least: lambda node: _chosen(node, min),
    exp.Greatest: lambda node: _chosen(node, max),
    exp.Add: lambda node: _of_two(node, _within_years(operator.add)),
    exp.Sub: lambda node: _of_two(node, _within_years(operator.sub)),
    exp.Paren: lambda node: _compiled(node.this),
    exp.Is: _is_null,
    exp.Not: _negated,
    exp.And: lambda node: _joined(node, decisive=False),
    exp.Or: lambda node: _joined(node, decisive=True),
}
