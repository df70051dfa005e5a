"""The validation report of a run: one HTML page that a person can read, verdict first."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, select_autoescape

from lakehouse.curves import pictures
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
        run_id=run_id, tables=tables, steps=steps, metrics=metrics, training=_training(steps)
    )


def newest_checks(lake: Lakehouse, run_id: str) -> list[dict[str, Any]]:
    """The rows of ``validations`` of each table's newest audit, what is broken first."""
    rows = lake.rows("validations", pc.field("run_id") == run_id).to_pylist()
    newest: dict[str, Any] = {}
    for row in rows:
        newest[row["table"]] = max(row["checked_at"], newest.get(row["table"], row["checked_at"]))
    found = [row for row in rows if row["checked_at"] == newest[row["table"]]]
    return sorted(found, key=lambda row: (newest[row["table"]], row["table"], _severity(row)))


def _severity(check: dict[str, Any]) -> int:
    """0 for what stops a table, 1 for what was overridden, 2 for a warning, 3 for what held."""
    if check["success"]:
        return 3
    if check["level"] == "warn":
        return 2
    return 1 if check["overridden"] else 0


def _tables(lake: Lakehouse, run_id: str) -> list[dict[str, Any]]:
    """Each table that was checked, the worst first, with its checks and their pictures."""
    found = []
    for table, group in groupby(newest_checks(lake, run_id), key=lambda row: row["table"]):
        checks = [{**check, "severity": _severity(check)} for check in group]
        for check in checks:
            check["bars"] = bars(json.loads(check["plot"])) if check["plot"] else None
        found.append(
            {
                "name": table,
                "checked_at": checks[0]["checked_at"],
                "severity": min(check["severity"] for check in checks),
                "checks": checks,
            }
        )
    return sorted(found, key=lambda table: (table["severity"], table["checked_at"]))


def bars(plot: dict[str, Any]) -> dict[str, Any]:
    """Where the bars of a histogram stand: this batch's beside the live one's.

    Args:
        plot: name, edges (B + 1), now and live (B shares each).

    Returns:
        name, low and high (labels of the ends), and for each bin its range and two heights in
        hundredths of the tallest bar.
    """
    edges = plot["edges"]
    tallest = max(*plot["now"], *plot["live"], 1e-9)
    bins = [
        {
            "range": f"{low:g} to {high:g}",
            "now": 100 * now / tallest,
            "live": 100 * live / tallest,
            "now_share": now,
            "live_share": live,
        }
        for low, high, now, live in zip(
            edges[:-1], edges[1:], plot["now"], plot["live"], strict=True
        )
    ]
    return {"name": plot["name"], "bins": bins, "low": edges[0], "high": edges[-1]}


def _steps(lake: Lakehouse, run_id: str) -> list[dict[str, Any]]:
    return list(finished_steps(lake, run_id).values())


def _training(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The learning curves, where the run has trained a model."""
    for step in steps:
        if step["step"] == "train":
            return pictures(step.get("detail", {}).get("history", []))
    return []


def _metrics(lake: Lakehouse, run_id: str) -> dict[str, Any] | None:
    if not lake.exists("batches"):
        return None
    rows = lake.rows("batches", pc.field("batch_id") == run_id).to_pylist()
    stored = rows[0]["metrics"] if rows else None
    return json.loads(stored) if stored else None
