"""The record of finished steps: rows in and out, seconds, and what else is worth knowing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import contract

if TYPE_CHECKING:
    from lakehouse.storage import Lakehouse


class StepClock:
    """Begun when a step begins; ``finish`` writes its row to the ``steps`` table.

    Args:
        lake: where the table is.
        step: name of the step.
    """

    def __init__(self, lake: Lakehouse, step: str) -> None:
        self._lake = lake
        self._step = step
        self._began = datetime.now(UTC)

    def finish(self, run_id: str, rows_in: int, rows_out: int, **detail: Any) -> None:
        """Append the step's row, once for each run that finishes it."""
        now = datetime.now(UTC)
        row = {
            "run_id": run_id,
            "step": self._step,
            "finished_at": now,
            "seconds": (now - self._began).total_seconds(),
            "rows_in": rows_in,
            "rows_out": rows_out,
            "detail": json.dumps(detail, default=str),
        }
        self._lake.append(
            "steps", pa.Table.from_pylist([row], schema=contract("steps").arrow_schema)
        )


def finished_steps(lake: Lakehouse, run_id: str) -> dict[str, dict[str, Any]]:
    """The newest record of each step that a run has finished, ``detail`` parsed, by name."""
    if not lake.exists("steps"):
        return {}
    rows = lake.rows("steps", pc.field("run_id") == run_id).to_pylist()
    ordered = sorted(rows, key=lambda row: row["finished_at"])
    return {row["step"]: {**row, "detail": json.loads(row["detail"])} for row in ordered}
