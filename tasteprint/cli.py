"""The command line, put together from its subcommands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_settings import CliApp, CliSubCommand, SettingsConfigDict

from schemas.errors import entry_point
from schemas.settings import Settings
from tasteprint.batches import Batches
from tasteprint.bridges import Bridges
from tasteprint.consumers import Consumers
from tasteprint.contracts import Contracts
from tasteprint.doctor import Doctor
from tasteprint.drain import Drain
from tasteprint.evaluate import Evaluate
from tasteprint.export import Export
from tasteprint.forget import Forget, Vacuum
from tasteprint.gates import Gates
from tasteprint.neighbors import Neighbors
from tasteprint.quarantine import Quarantine
from tasteprint.replay import Replay
from tasteprint.run import Run
from tasteprint.serve import NewToken, Serve

if TYPE_CHECKING:
    from collections.abc import Sequence


class Tasteprint(Settings):
    """One vector per listener, validated, versioned and shared by every downstream model.

    Start with `tasteprint doctor`, then `tasteprint run`, which simulates listeners unless it is
    given a source of real events.
    """

    # Flags of `replay` whose names no field can have: a keyword, and a method of pydantic's.
    model_config = SettingsConfigDict(cli_shortcuts={"played-from": "from", "figures": "json"})

    run: CliSubCommand[Run]
    """The whole way, from events to promoted vectors."""
    evaluate: CliSubCommand[Evaluate]
    """Measure a batch by the published protocols, beside baselines."""
    doctor: CliSubCommand[Doctor]
    """What is missing or wrong on this machine, and what to type."""
    batches: CliSubCommand[Batches]
    """Look after the vector spaces, and say which one counts."""
    consumers: CliSubCommand[Consumers]
    """Say which batch a downstream model is trained on, and which it is ready for."""
    bridges: CliSubCommand[Bridges]
    """Let consumers that are trained on one batch read another."""
    export: CliSubCommand[Export]
    """Write vectors as files: Parquet, a memory map, an index."""
    gates: CliSubCommand[Gates]
    """See what the gates found, and overrule a check by name and reason."""
    neighbors: CliSubCommand[Neighbors]
    """Show what lies near an item, by name."""
    quarantine: CliSubCommand[Quarantine]
    """List, show and replay refused rows."""
    contracts: CliSubCommand[Contracts]
    """Check, compare or print the contracts of all tables."""
    serve: CliSubCommand[Serve]
    """Answer with vectors over HTTP, and make them anew within a second of an event."""
    replay: CliSubCommand[Replay]
    """Play real events into a running service, and watch vectors move."""
    drain: CliSubCommand[Drain]
    """Take what the service has logged into the lakehouse."""
    tokens: CliSubCommand[NewToken]
    """Make a token for someone who asks the service."""
    forget: CliSubCommand[Forget]
    """Erase a person from everything."""
    vacuum: CliSubCommand[Vacuum]
    """Remove retired batches and files that nobody needs."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    Tasteprint.parse(argv)
