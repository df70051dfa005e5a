"""``tasteprint gates``: what the gates found, and letting a check pass by name and reason."""

from __future__ import annotations

from itertools import groupby

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lakehouse.overrides import override
from lakehouse.report import newest_checks
from schemas.errors import InputError
from schemas.settings import Settings
from tasteprint.settings import OnLakehouse

console = Console(highlight=False)


class GatesShow(OnLakehouse):
    """Show what the gates of a batch or an ingest found, what is broken first."""

    run: CliPositionalArg[str] = Field(description="A batch (id, live, legacy) or an ingest.")
    all: bool = False
    """Show the checks that held, too."""

    def cli_cmd(self) -> None:
        """Print a table per gate."""
        lake = self.lake
        run = lake.batches.get(self.run).batch_id if self.run in ("live", "legacy") else self.run
        checks = newest_checks(lake, run)
        if not checks:
            raise InputError(f"no gate has seen a run {run!r}")
        for name, group in groupby(checks, key=lambda check: check["table"]):
            found = list(group)
            broken = [check for check in found if not check["success"]]
            console.print(f"[bold]{name}[/]: {len(found) - len(broken)} of {len(found)} held")
            table = Table(box=None, show_header=False)
            for check in found if self.all else broken:
                table.add_row(_mark(check), check["check"], escape(check["observed"]))
            console.print(table)
        console.print(f"Report: {lake.report_uri(run)}", soft_wrap=True)


def _mark(check: dict[str, object]) -> str:
    if check["success"]:
        return "[green]✓[/]"
    if check["overridden"]:
        return "[yellow]overridden[/]"
    return "[red]failed[/]" if check["level"] == "fail" else "[yellow]warned[/]"


class GatesOverride(OnLakehouse):
    """Let a check that has failed pass, for this run only; who and why is kept and shown.

    Run the step, or `tasteprint run`, again afterwards.
    """

    run: CliPositionalArg[str] = Field(description="The batch or ingest that was stopped.")
    table: CliPositionalArg[str] = Field(description="The table whose gate stopped it.")
    check: CliPositionalArg[str] = Field(description="The check, as the gate names it.")
    by: str
    """Who answers for it."""
    reason: str
    """Why it is right all the same."""

    def cli_cmd(self) -> None:
        """Write it down, and say what to do next."""
        override(self.lake, self.run, self.table, self.check, self.by, self.reason)
        console.print(f"{self.check} of {self.table} is overridden for {self.run}: run it again")


class Gates(Settings):
    """See what the gates found, and overrule a check by name and reason."""

    show: CliSubCommand[GatesShow]
    """What was expected, and what was seen."""
    override: CliSubCommand[GatesOverride]
    """Let a failed check pass, once."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)
