"""A person may let a failing check pass: by name, with a reason, and for one run only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import contract
from schemas.errors import InputError

if TYPE_CHECKING:
    from lakehouse.checks import Verdict
    from lakehouse.storage import Lakehouse


def override(lake: Lakehouse, run_id: str, table: str, check: str, by: str, reason: str) -> None:
    """Let a check that has failed pass when the same run comes to its gate again.

    A batch that the gate has stopped may be built further.

    Raises:
        InputError: the check has not failed in that run, or nobody or no reason is named.
    """
    if not by.strip() or not reason.strip():
        raise InputError("an override needs a name and a reason: --by NAME --reason WHY")
    failed = sorted(_failed(lake, run_id, table))
    if check not in failed:
        raise InputError(
            f"{check!r} has not failed in the gate of {table} of {run_id}; "
            f"what has: {', '.join(failed) or 'nothing'}"
        )
    row = {
        "run_id": run_id,
        "table": table,
        "check": check,
        "overridden_by": by,
        "reason": reason,
        "overridden_at": datetime.now(UTC),
    }
    schema = contract("overrides").arrow_schema
    lake.append(
        "overrides",
        pa.Table.from_pylist([row], schema=schema),
        transaction=f"override/{run_id}/{table}/{check}",
    )
    stopped = {batch.batch_id for batch in lake.batches.list() if batch.state == "failed"}
    if run_id in stopped:
        lake.batches.record(run_id, state="building")


def with_overrides(lake: Lakehouse, verdict: Verdict) -> Verdict:
    """The verdict, with each failed check that somebody has overridden marked so."""
    if not lake.exists("overrides"):
        return verdict
    rows = lake.rows("overrides", _of(verdict.run_id, verdict.table)).to_pylist()
    said = {row["check"]: f"{row['overridden_by']}: {row['reason']}" for row in rows}
    checks = [
        check.model_copy(update={"overridden": said[check.check]})
        if check.stops and check.check in said
        else check
        for check in verdict.checks
    ]
    return verdict.model_copy(update={"checks": checks})


def _of(run_id: str, table: str) -> pc.Expression:
    return (pc.field("run_id") == run_id) & (pc.field("table") == table)


def _failed(lake: Lakehouse, run_id: str, table: str) -> set[str]:
    """The checks that stopped a table in the newest audit of a run."""
    rows = lake.rows("validations", _of(run_id, table)).to_pylist()
    newest = max((row["checked_at"] for row in rows), default=None)
    return {
        row["check"]
        for row in rows
        if row["checked_at"] == newest and not row["success"] and row["level"] == "fail"
    }
