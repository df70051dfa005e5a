"""What a gate finds: one check after the other, and the verdict over all of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.errors import GateError

Level = Literal["warn", "fail"]
Outcome = Literal["passed", "warned", "overridden", "failed"]


class Check(BaseModel):
    """What one check found.

    A broken check of level ``fail`` stops the table, one of level ``warn`` is shown.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    """Short and stable, to name it in an override: ``user_id.not_null``."""
    expectation: str
    column: str | None
    level: Level
    success: bool
    expected: str
    observed: str
    unexpected_count: int
    examples: list[str]
    worst: list[str] = []
    """Keys of rows that break it, with what they hold."""
    plot: str | None = None
    """Histogram of a drifted group beside the live batch's, JSON."""
    overridden: str | None = None
    """Who let it pass although it failed, and why."""

    @property
    def stops(self) -> bool:
        """Whether nothing may be published because of it."""
        return not self.success and self.level == "fail" and self.overridden is None

    @property
    def said(self) -> str:
        """What was expected, what was seen instead, and some of the rows."""
        rows = self.worst or self.examples
        shown = f", for example {', '.join(rows)}" if rows else ""
        return f"{self.expectation}: {self.observed}{shown}"


class Verdict(BaseModel):
    """What the gate found about one table of one run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    table: str
    rows: int
    checks: list[Check]

    @property
    def outcome(self) -> Outcome:
        """The worst that was found."""
        broken = [check for check in self.checks if not check.success]
        if any(check.stops for check in broken):
            return "failed"
        if any(check.level == "fail" for check in broken):
            return "overridden"
        return "warned" if broken else "passed"

    @property
    def passed(self) -> bool:
        """Whether the table may be published."""
        return self.outcome != "failed"

    def require(self, report: str) -> None:
        """Raise GateError, naming each check that stops the table, and some rows, if any does."""
        stopping = [check for check in self.checks if check.stops]
        if not stopping:
            return
        broken = "\n".join(f"  - {check.said} [{check.check}]" for check in stopping)
        raise GateError(
            f"{self.table} did not pass its gate, and nothing of it was published:\n{broken}\n"
            f"  The whole report: {report}\n"
            f"  If it is right all the same: tasteprint gates override {self.run_id} {self.table} "
            "CHECK --by NAME --reason WHY, and the same command again"
        )


def bounds_said(warn: float | None, fail: float | None, *, below: bool) -> str:
    """The bounds of ``level_of`` in words."""
    side = "at least" if below else "at most"
    bounds = (("to pass", fail), ("without a warning", warn))
    return ", ".join(f"{side} {bound:g} {why}" for why, bound in bounds if bound is not None)


def level_of(
    measured: float, warn: float | None, fail: float | None, *, below: bool
) -> tuple[Level, bool]:
    """The level that a measured number reaches, and whether it holds.

    Args:
        measured: the number.
        warn: bound of level ``warn``, if there is one.
        fail: bound of level ``fail``, if there is one.
        below: whether too small is what is wrong, instead of too large.
    """
    sign = -1 if below else 1
    bounds: tuple[tuple[Level, float | None], ...] = (("fail", fail), ("warn", warn))
    for level, bound in bounds:
        # A measure that is no number keeps within no bound.
        if bound is not None and not sign * measured <= sign * bound:
            return level, False
    return ("fail" if fail is not None else "warn"), True
