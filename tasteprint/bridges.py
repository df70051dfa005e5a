"""``tasteprint bridges``: let consumers of one vector space read another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.bridge import build, run_name
from evaluation.bridge_measures import BRIDGE, NEW, NO_BRIDGE, OLD
from lakehouse.bridges import BridgeRegistry
from schemas.errors import InputError
from schemas.settings import Settings
from tasteprint.settings import OnLakehouse

if TYPE_CHECKING:
    from lakehouse.bridges import Bridge

console = Console(highlight=False)
READERS = (OLD, BRIDGE, NO_BRIDGE, NEW)
TITLES = {
    "cosine": "cosine",
    "neighbours": "neighbours",
    "future_listening": "AUC, plays",
    "genres": "AUC, genres",
}


class BridgesBuild(OnLakehouse):
    """Fit a bridge from one batch into another, measure what it keeps, and let the gate judge.

    Consumers that are trained on the second can read the first through it, if the gate says yes.
    """

    new: CliPositionalArg[str] = Field(description="The batch to read: an id, live or legacy.")
    old: CliPositionalArg[str] = Field(description="The batch that consumers are trained on.")
    horizon_days: float = 7.0
    """Days in which plays are foretold."""
    seed: int = 0
    """Seed of the negatives and of the bootstrap."""

    def cli_cmd(self) -> None:
        """Print what was measured; GateError if the bridge keeps too little."""
        lake = self.lake
        bridge, verdict = build(lake, self.new, self.old, self.horizon_days, self.seed)
        _describe(bridge)
        report = lake.report_uri(verdict.run_id)
        verdict.require(report)
        for check in verdict.checks:
            if not check.success:
                console.print(f"[yellow]warned[/] {escape(f'{check.said} [{check.check}]')}")
        console.print(f"Report: {report}", soft_wrap=True)


class BridgesList(OnLakehouse):
    """List every bridge that was built, oldest first, and the share of old neighbours it keeps."""

    def cli_cmd(self) -> None:
        """Print the table."""
        table = Table(box=None)
        for title in ("from", "into", "made (UTC)", "state", "keeps"):
            table.add_column(title, no_wrap=True)
        for bridge in BridgeRegistry(self.lake).all():
            table.add_row(
                bridge.from_batch,
                bridge.to_batch,
                f"{bridge.made_at:%Y-%m-%d %H:%M}",
                _coloured(bridge),
                _neighbours(bridge),
            )
        console.print(table)


class BridgesShow(OnLakehouse):
    """Show what the newest bridge between two batches keeps."""

    new: CliPositionalArg[str] = Field(description="The batch to read: an id, live or legacy.")
    old: CliPositionalArg[str] = Field(description="The batch that consumers are trained on.")

    def cli_cmd(self) -> None:
        """Print it, refused or not."""
        lake = self.lake
        new, old = (lake.batch(name).batch_id for name in (self.new, self.old))
        built = BridgeRegistry(lake).between(new, old)
        if not built:
            raise InputError(
                f"no bridge from {new} into {old} was ever built: "
                f"`tasteprint bridges build {new} {old}`"
            )
        _describe(built[-1])
        console.print(f"Report: {lake.report_uri(run_name(new, old))}", soft_wrap=True)


class Bridges(Settings):
    """Let consumers that are trained on one batch read another."""

    build: CliSubCommand[BridgesBuild]
    """Fit one, and measure what it keeps."""
    list: CliSubCommand[BridgesList]
    """All of them."""
    show: CliSubCommand[BridgesShow]
    """What the newest one between two batches keeps."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)


def _describe(bridge: Bridge) -> None:
    """Print a bridge, and each of its measures for each reader."""
    console.print(
        f"{bridge.from_batch} → {bridge.to_batch}, {bridge.made_at:%Y-%m-%d %H:%M} UTC: "
        f"{_coloured(bridge)}",
        soft_wrap=True,
    )
    console.print(
        f"fitted on {bridge.users:,} users and {bridge.metrics['tracks']:,} tracks, "
        f"measured on {bridge.metrics['held_out']:,} other users at most"
    )
    found = bridge.metrics["measures"]
    table = Table("", box=None)
    for name in found:
        table.add_column(TITLES[name], justify="right")
    for reader in READERS:
        table.add_row(reader, *(_cell(measure, reader) for measure in found.values()))
    table.add_row("[dim]users[/]", *(f"[dim]{measure['users']:,}[/]" for measure in found.values()))
    console.print(table)
    console.print("[dim]Below an AUC: beside the old vectors, 95 % interval over users.[/]")


def _cell(measure: dict[str, Any], reader: str) -> str:
    """A mean, and below it the interval of how it differs from the old vectors'."""
    row = next((row for row in measure["rows"] if row["name"] == reader), None)
    if row is None:
        return ""
    if "loss" not in row:
        return f"{row['value']:.4f}"
    low, high = row["loss_interval"]
    return f"{row['value']:.4f}\n[dim]{-high:+.3f} … {-low:+.3f}[/]"


def _neighbours(bridge: Bridge) -> str:
    rows = bridge.metrics["measures"].get("neighbours", {"rows": []})["rows"]
    return next((f"{row['value']:.1%}" for row in rows if row["name"] == BRIDGE), "unknown")


def _coloured(bridge: Bridge) -> str:
    return f"[{'green' if bridge.state == 'ready' else 'red'}]{bridge.state}[/]"
