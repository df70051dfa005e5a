"""The validation report of a run: one HTML page that a person can read, verdict first."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

from lakehouse.steps import finished_steps

if TYPE_CHECKING:
    from lakehouse.storage import Lakehouse


def write_report(lake: Lakehouse, run_id: str) -> str:
    """Render what ``validations``, ``steps`` and ``batches`` know of a run; returns where."""
    place = lake.report_uri(run_id)
    lake.write_text(
        place, render(run_id, _tables(lake, run_id), _steps(lake, run_id), _metrics(lake, run_id))
    )
    return place


def render(
    run_id: str,
    tables: list[dict[str, Any]],
    steps: list[dict[str, Any]],
    metrics: dict[str, Any] | None,
) -> str:
    """The page as a string; every value from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("lakehouse"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        run_id=run_id, tables=tables, steps=steps, metrics=metrics
    )


def _tables(lake: Lakehouse, run_id: str) -> list[dict[str, Any]]:
    """Each table that was checked, with the checks of its newest audit, failures first."""
    rows = lake.open("validations").to_pyarrow_table(filters=[("run_id", "=", run_id)]).to_pylist()
    rows.sort(key=lambda row: (row["table"], row["checked_at"]))
    found = []
    for table, group in groupby(rows, key=lambda row: row["table"]):
        checks = list(group)
        newest = checks[-1]["checked_at"]
        checks = [check for check in checks if check["checked_at"] == newest]
        found.append(
            {
                "name": table,
                "checked_at": newest,
                "passed": all(check["success"] for check in checks),
                "checks": sorted(checks, key=lambda check: check["success"]),
            }
        )
    return sorted(found, key=lambda table: (table["passed"], table["checked_at"]))


def _steps(lake: Lakehouse, run_id: str) -> list[dict[str, Any]]:
    return list(finished_steps(lake, run_id).values())


def _metrics(lake: Lakehouse, run_id: str) -> dict[str, Any] | None:
    if not lake.exists("batches"):
        return None
    rows = lake.open("batches").to_pyarrow_table(filters=[("batch_id", "=", run_id)]).to_pylist()
    stored = rows[0]["metrics"] if rows else None
    return json.loads(stored) if stored else None
