"""``tasteprint batches``: look after the vector spaces, and say which one counts."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console
from rich.table import Table

from lakehouse.consumers import ConsumerRegistry
from lakehouse.storage import Lakehouse
from schemas.settings import Settings
from tasteprint.opening import open_batch
from tasteprint.rebuild import BatchesRebuild
from tasteprint.refresh import BatchesRefresh
from tasteprint.settings import Moment, OnLakehouse
from tasteprint.summary import compare_batches, describe_batch

console = Console(highlight=False)


class BatchesList(OnLakehouse):
    """List all batches, oldest first: their states, gates, and who is trained on them."""

    def cli_cmd(self) -> None:
        """Print the table."""
        table = Table(box=None)
        for title in ("batch", "state", "as of (UTC)", "gates"):
            table.add_column(title, no_wrap=True)
        table.add_column("read by")
        for batch in self.lake.batches.list():
            good = sum(verdict != "failed" for verdict in batch.gates.values())
            promised = f" (until {batch.legacy_until:%Y-%m-%d})" if batch.legacy_until else ""
            table.add_row(
                batch.batch_id,
                batch.state,
                f"{batch.as_of:%Y-%m-%d %H:%M}",
                f"{good} of {len(batch.gates)} passed",
                ", ".join(batch.consumers) + promised,
            )
        console.print(table)


class BatchesShow(OnLakehouse):
    """Show one batch: its inputs and their versions, its model, and how it did."""

    batch: CliPositionalArg[str] = Field(description="An id, or live, or legacy.")

    def cli_cmd(self) -> None:
        """Print the batch."""
        lake = self.lake
        describe_batch(console, lake, lake.batches.get(self.batch))


class BatchesDiff(OnLakehouse):
    """Show what differs between two batches: inputs, settings, features, model, results."""

    one: CliPositionalArg[str] = Field(description="An id, or live, or legacy.")
    other: CliPositionalArg[str] = Field(description="An id, or live, or legacy.")

    def cli_cmd(self) -> None:
        """Print one line for each difference."""
        batches = self.lake.batches
        compare_batches(console, batches.get(self.one), batches.get(self.other))


class BatchesPromote(OnLakehouse):
    """Make a candidate live, and the live batch legacy, in one commit.

    Consumers of the live batch that are ready for it move along. If one is not, nothing happens,
    unless --legacy-until promises it the legacy batch, which is then refreshed by every
    `tasteprint run` until the consumer has moved.
    """

    batch: CliPositionalArg[str] = Field(description="The id of a candidate, or a legacy batch.")
    legacy_until: Moment | None = None
    """Until when consumers that are not ready may count on the legacy batch, such as 2027-01-31."""

    def cli_cmd(self) -> None:
        """Promote, and say so."""
        lake = self.lake
        chosen = lake.batches.get(self.batch)
        ready = ConsumerRegistry(lake).ready_for(chosen)
        promoted = lake.batches.promote(chosen.batch_id, ready, self.legacy_until)
        console.print(f"{promoted.batch_id} is {promoted.state}")
        for one in lake.batches.list():
            if one.state == "legacy" and one.consumers:
                console.print(f"{one.batch_id} is legacy for {', '.join(one.consumers)}")


class BatchesRollback(OnLakehouse):
    """Make the batch that was live before live again, in one commit.

    Consumers stay with the batch that they are trained on, which stays readable.
    """

    batch: CliPositionalArg[str | None] = Field(
        default=None, description="Another legacy batch to go back to."
    )

    def cli_cmd(self) -> None:
        """Go back, and say who is trained on the other."""
        lake = self.lake
        back = lake.batches.rollback(self.batch)
        console.print(f"{back.batch_id} is live again")
        for one in lake.batches.list():
            if one.state == "legacy" and one.consumers:
                console.print(f"{', '.join(one.consumers)} must read {one.batch_id} (legacy)")


class BatchesRetire(OnLakehouse):
    """Let go of a batch that nobody reads; `tasteprint vacuum` then removes its files."""

    batch: CliPositionalArg[str] = Field(description="An id.")

    def cli_cmd(self) -> None:
        """Retire, and say so."""
        lake = self.lake
        retired = lake.batches.retire(lake.batches.get(self.batch).batch_id)
        console.print(f"{retired.batch_id} is {retired.state}")


class BatchesOpen(OnLakehouse):
    """Open a batch on the lakehouse as it is now, and print its id."""

    holdout_days: float = 7.0
    """Days at the end that are kept out of the batch, to test it on."""
    as_of: Moment | None = None
    """The batch's moment, UTC, instead of --holdout-days."""

    def cli_cmd(self) -> None:
        """Print nothing but the id, for scripts."""
        print(open_batch(Lakehouse(self.lakehouse), self.holdout_days, self.as_of).batch_id)  # noqa: T201


class Batches(Settings):
    """Look after the batches: each is one vector space, with all that it was made from."""

    list: CliSubCommand[BatchesList]
    """All batches and their states."""
    show: CliSubCommand[BatchesShow]
    """One batch: inputs, model, gates, and how it does."""
    diff: CliSubCommand[BatchesDiff]
    """What differs between two."""
    promote: CliSubCommand[BatchesPromote]
    """Make a candidate live."""
    rollback: CliSubCommand[BatchesRollback]
    """Make the batch before live again."""
    refresh: CliSubCommand[BatchesRefresh]
    """Newer vectors in the space of a batch that is served."""
    rebuild: CliSubCommand[BatchesRebuild]
    """Make a batch again from what it pins, and compare."""
    retire: CliSubCommand[BatchesRetire]
    """Let go of one."""
    open: CliSubCommand[BatchesOpen]
    """Open one to run single steps on."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)
