"""``tasteprint drain``: what the service has logged, into the lakehouse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from pydantic import Field
from rich.console import Console

from lakehouse.drained import drain_summary
from tasteprint.engines import execute, spark_step
from tasteprint.settings import QUICK_START, OnLakehouse

if TYPE_CHECKING:
    from lakehouse.storage import Lakehouse

console = Console(highlight=False)


class Drain(OnLakehouse):
    """Take what the service has logged into the lakehouse, each event exactly once.

    To be given again and again, as by a timer: each time it takes what is new, through the gate
    that files pass too. What the service has refused goes to the quarantine.
    """

    event_log: str = "var/events"
    """Folder of the service's event log."""
    keep_days: float = Field(default=14.0, ge=0)
    """Days for which drained segments of the log stay: above replay_days of the service."""
    spark_submit: str = QUICK_START
    """More arguments for spark-submit."""

    def cli_cmd(self) -> None:
        """Run the job, and say what it came to."""
        lake, began = self.lake, datetime.now(UTC)
        said = {
            "from-log": self.event_log,
            "keep-days": str(self.keep_days),
            "lakehouse": lake.uri,
        }
        arguments = [part for name, value in said.items() for part in (f"--{name}", value)]
        step = spark_step("drain", "drain", "ingest", arguments, self.spark_submit)
        execute(step, self.lakehouse, console)
        found = _drained_since(lake, began)
        for detail in found:
            console.print("\n".join(drain_summary(detail)), markup=False, soft_wrap=True)
        if not found:
            console.print("Nothing new in the log.")


def _drained_since(lake: Lakehouse, moment: datetime) -> list[dict[str, Any]]:
    """What the drains that have ended since a moment came to, the first one first."""
    if not lake.exists("steps"):
        return []
    ended = (pc.field("step") == "drain") & (pc.field("finished_at") >= moment)
    rows = lake.rows("steps", ended).sort_by("finished_at").to_pylist()
    return [json.loads(row["detail"]) for row in rows]
