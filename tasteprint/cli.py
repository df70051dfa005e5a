"""The command line: ``tasteprint run``, ``doctor`` and ``batches``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console
from rich.table import Table

from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from schemas.errors import entry_point
from schemas.settings import Settings
from tasteprint.doctor import Doctor
from tasteprint.opening import open_batch
from tasteprint.run import DEFAULT_LAKEHOUSE, Run
from tasteprint.summary import describe_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

console = Console(highlight=False)


class _OnLakehouse(Settings):
    lakehouse: str = DEFAULT_LAKEHOUSE
    """Folder or URI of the lakehouse."""

    @property
    def registry(self) -> BatchRegistry:
        """The registry of that lakehouse, which must have one already."""
        lake = Lakehouse(self.lakehouse)
        lake.open("batches")
        return BatchRegistry(lake)


class BatchesList(_OnLakehouse):
    """List all batches, oldest first, with their states."""

    def cli_cmd(self) -> None:
        """Print the table."""
        table = Table(box=None)
        for title in ("batch", "state", "as of (UTC)", "gates"):
            table.add_column(title, no_wrap=True)
        for batch in self.registry.list():
            passed = sum(verdict == "passed" for verdict in batch.gates.values())
            gates = f"{passed} of {len(batch.gates)} passed"
            table.add_row(
                batch.batch_id,
                batch.state,
                f"{batch.as_of:%Y-%m-%d %H:%M}",
                gates,
            )
        console.print(table)


class BatchesShow(_OnLakehouse):
    """Show one batch: its inputs and their versions, its model, and how it did."""

    batch: CliPositionalArg[str] = Field(description="An id, or live, or legacy.")

    def cli_cmd(self) -> None:
        """Print the batch."""
        describe_batch(console, Lakehouse(self.lakehouse), self.registry.get(self.batch))


class BatchesPromote(_OnLakehouse):
    """Make a candidate live, and the live batch legacy, in one commit."""

    batch: CliPositionalArg[str] = Field(description="The id of a candidate.")

    def cli_cmd(self) -> None:
        """Promote, and say so."""
        promoted = self.registry.promote(self.batch)
        console.print(f"{promoted.batch_id} is {promoted.state}")


class BatchesOpen(_OnLakehouse):
    """Open a batch on the lakehouse as it is now, and print its id."""

    holdout_days: float = 7.0
    """Days at the end that are kept out of the batch, to test it on."""
    as_of: datetime | None = None
    """The batch's moment, UTC, instead of --holdout-days."""

    def cli_cmd(self) -> None:
        """Print nothing but the id, for scripts."""
        print(open_batch(Lakehouse(self.lakehouse), self.holdout_days, self.as_of).batch_id)  # noqa: T201


class Batches(Settings):
    """Open, list, show and promote batches."""

    list: CliSubCommand[BatchesList]
    """All batches and their states."""
    show: CliSubCommand[BatchesShow]
    """One batch: inputs, model, gates, and how it does."""
    promote: CliSubCommand[BatchesPromote]
    """Make a candidate live."""
    open: CliSubCommand[BatchesOpen]
    """Open a batch to run single steps on."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)


class Tasteprint(Settings):
    """One vector per listener, validated, versioned and shared by every downstream model.

    Start with `tasteprint doctor`, then `tasteprint run`, which simulates listeners unless it is
    given a source of real events.
    """

    run: CliSubCommand[Run]
    """The whole way, from events to promoted vectors."""
    doctor: CliSubCommand[Doctor]
    """What is missing or wrong on this machine, and what to type."""
    batches: CliSubCommand[Batches]
    """Open, list, show and promote batches."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    Tasteprint.parse(argv)
