"""``tasteprint consumers``: who reads which vector space, and who is ready for the next."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console
from rich.table import Table

from lakehouse.consumers import ConsumerRegistry
from schemas.settings import Settings
from tasteprint.settings import OnLakehouse

console = Console(highlight=False)


class ConsumersList(OnLakehouse):
    """List all downstream models: which batch each is trained on, and which it is ready for."""

    def cli_cmd(self) -> None:
        """Print the table."""
        lake = self.lake
        states = {batch.batch_id: batch.state for batch in lake.batches.list()}
        table = Table(box=None)
        for title in ("consumer", "trained on", "ready for", "contact"):
            table.add_column(title, overflow="fold")
        for one in ConsumerRegistry(lake).all():
            table.add_row(
                one.consumer,
                f"{one.batch_id} ({states[one.batch_id]})",
                one.ready_for or "",
                one.contact or "",
            )
        console.print(table)


class ConsumersRegister(OnLakehouse):
    """Say that a downstream model is trained on a batch, so that it stays readable."""

    consumer: CliPositionalArg[str] = Field(description="A name of your own, such as home-ranker.")
    batch: CliPositionalArg[str] = Field(default="live", description="An id, or live, or legacy.")
    contact: str | None = None
    """Whom to ask about it."""

    def cli_cmd(self) -> None:
        """Register, and say so."""
        one = ConsumerRegistry(self.lake).register(self.consumer, self.batch, self.contact)
        console.print(f"{one.consumer} is trained on {one.batch_id}")


class ConsumersReady(OnLakehouse):
    """Say that a downstream model can read a batch: at its promotion it moves there."""

    consumer: CliPositionalArg[str] = Field(description="A registered consumer.")
    batch: CliPositionalArg[str] = Field(description="The id of a candidate, or live.")

    def cli_cmd(self) -> None:
        """Note it, and say so."""
        one = ConsumerRegistry(self.lake).ready(self.consumer, self.batch)
        said = f"is ready for {one.ready_for}" if one.ready_for else f"is trained on {one.batch_id}"
        console.print(f"{one.consumer} {said}")


class ConsumersRemove(OnLakehouse):
    """Forget a downstream model; its batch may be retired then."""

    consumer: CliPositionalArg[str] = Field(description="A registered consumer.")

    def cli_cmd(self) -> None:
        """Remove, and say so."""
        ConsumerRegistry(self.lake).remove(self.consumer)
        console.print(f"{self.consumer} reads nothing any more")


class Consumers(Settings):
    """Say which batch a downstream model is trained on and which it is ready for."""

    list: CliSubCommand[ConsumersList]
    """All of them."""
    add: CliSubCommand[ConsumersRegister] = Field(alias="register")  # a base class has that name
    """A new one, or the same on another batch."""
    ready: CliSubCommand[ConsumersReady]
    """It can read another batch."""
    remove: CliSubCommand[ConsumersRemove]
    """It is no more."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)
