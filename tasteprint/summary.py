"""What a run came to, for a person to read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lakehouse.steps import finished_steps

if TYPE_CHECKING:
    from rich.console import Console

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

TITLES = {
    "ingest": "ingest",
    "track_vectors": "item vectors",
    "features": "user features",
    "train": "train",
    "embed": "embed",
    "audit": "audit",
}


def summarise(console: Console, lake: Lakehouse, ingest_id: str, batch: Batch) -> None:
    """Print rows and seconds of each step, what was refused, how the vectors do, what is next."""
    steps = {**finished_steps(lake, ingest_id), **finished_steps(lake, batch.batch_id)}
    console.print()
    console.print(_steps(steps))
    _quarantined(console, steps.get("ingest"))
    _metrics(console, json.loads(batch.metrics or "{}"))
    console.print(f"Batch [bold]{batch.batch_id}[/] is [bold green]{batch.state}[/].")
    console.print(f"Validation report: {lake.report_uri(batch.batch_id)}", soft_wrap=True)
    where = f"--lakehouse {lake.uri}"
    console.print("\nNext:")
    if batch.state == "candidate":
        console.print(f"  tasteprint batches promote {batch.batch_id} {where}", soft_wrap=True)
    console.print(f"  tasteprint batches list {where}", soft_wrap=True)
    console.print(f"  tasteprint batches show live {where}", soft_wrap=True)
    console.print("  tasteprint run --source YOURS.yaml --data DIR   # README: own events")


def describe_batch(console: Console, lake: Lakehouse, batch: Batch) -> None:
    """Print everything the registry knows of a batch."""
    table = Table(box=None, show_header=False)
    said = {
        "batch": batch.batch_id,
        "state": batch.state,
        "as of": f"{batch.as_of:%Y-%m-%d %H:%M:%S} UTC",
        "opened": f"{batch.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "code": batch.code_version,
        "inputs": ", ".join(f"{name} at {version}" for name, version in batch.parents.items()),
        "tables": ", ".join(f"{name} at {version}" for name, version in batch.tables.items()),
        "gates": ", ".join(f"{name} {verdict}" for name, verdict in batch.gates.items()),
        "model": batch.model_uri or "none yet",
        "before it": batch.previous or "",
        "read by": ", ".join(batch.consumers),
        "promised until": f"{batch.legacy_until:%Y-%m-%d}" if batch.legacy_until else "",
        "refresh": f"under way, as of {batch.refresh.as_of:%Y-%m-%d %H:%M:%S} UTC"
        if batch.refresh
        else "",
        "weights": f"sha256 {batch.model_sha256}" if batch.model_sha256 else "",
        "report": lake.report_uri(batch.batch_id),
    }
    for name, value in said.items():
        if value:
            table.add_row(f"[dim]{name}[/]", value)
    console.print(table)
    console.print()
    console.print(_steps(finished_steps(lake, batch.batch_id)))
    _metrics(console, json.loads(batch.metrics or "{}"))


def compare_batches(console: Console, one: Batch, other: Batch) -> None:
    """Print what differs between two batches, one line for each difference."""
    table = Table("", one.batch_id, other.batch_id, box=None)
    ours, theirs = _facts(one), _facts(other)
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            table.add_row(f"[dim]{name}[/]", ours.get(name, ""), theirs.get(name, ""))
    console.print(table)


def _facts(batch: Batch) -> dict[str, str]:
    """What tells one batch from another, by name, as text."""
    facts = {
        "state": batch.state,
        "as of": f"{batch.as_of:%Y-%m-%d %H:%M:%S} UTC",
        "code": batch.code_version,
        "weights": (batch.model_sha256 or "none")[:12],
        "read by": ", ".join(batch.consumers),
    }
    facts |= {f"input {name}": f"version {pin}" for name, pin in batch.parents.items()}
    for step, settings in batch.recipe.items():
        facts |= {f"{step} {name}": str(value) for name, value in settings.items()}
    for group in json.loads(batch.layout or '{"groups": []}')["groups"]:
        facts[f"feature group {group['name']}"] = f"{len(group['columns'])} columns"
    tested = json.loads(batch.metrics or "{}").get("future_listening") or {"rows": []}
    facts |= {f"AUC, {row['name']}": f"{row['auc']:.4f}" for row in tested["rows"]}
    return facts | {f"gate of {name}": verdict for name, verdict in batch.gates.items()}


def _steps(steps: dict[str, dict[str, Any]]) -> Table:
    table = Table("step", box=None)
    for title in ("rows in", "rows out", "seconds"):
        table.add_column(title, justify="right")
    for name, title in TITLES.items():
        if name in steps:
            row = steps[name]
            table.add_row(
                title, f"{row['rows_in']:,}", f"{row['rows_out']:,}", f"{row['seconds']:.1f}"
            )
    return table


def _quarantined(console: Console, ingest: dict[str, Any] | None) -> None:
    if ingest is None:
        return
    console.print()
    refused = {
        table: counts["bad"]
        for table, counts in ingest["detail"]["tables"].items()
        if counts["bad"]
    }
    if not refused:
        console.print("Quarantined: nothing.")
    for table, count in refused.items():
        console.print(f"Quarantined of {table}: {count:,} rows")
        for reason, rows in ingest["detail"]["reasons"][table].items():
            console.print(f"  {rows:,} rows: {reason}")


def _metrics(console: Console, metrics: dict[str, Any]) -> None:
    test = metrics.get("future_listening")
    console.print()
    if test is None:
        console.print("Future listening: not measured, for nobody played anything after as_of.")
    else:
        console.print(
            f"What do {test['users']} users play in the next {test['horizon_days']:g} days?\n"
            f"({test['positives']:,} tracks after {test['as_of']}, against what others play then)"
        )
        table = Table("scored by", box=None)
        for title in ("AUC", "better by", "95 % interval"):
            table.add_column(title, justify="right")
        for row in test["rows"]:
            better = f"{row['difference']:+.4f}" if row["difference"] is not None else ""
            interval = f"{row['interval'][0]:+.4f} … {row['interval'][1]:+.4f}" if better else ""
            table.add_row(row["name"], f"{row['auc']:.4f}", better, interval)
        console.print(table)
    for user in metrics.get("neighbours", []):
        console.print(f"\nNearest to a listener who plays {user['plays']}, listeners who play:")
        for near in user["neighbours"]:
            console.print(f"  {near['cosine']:.3f}  {near['plays']}")
    console.print()
