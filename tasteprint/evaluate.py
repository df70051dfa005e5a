"""``tasteprint evaluate``: the published protocols, over a batch that is there."""

from __future__ import annotations

from pydantic_settings import CliApp, CliSubCommand

from schemas.settings import Settings
from tasteprint.first_hours import FirstHours
from tasteprint.future_listening import FutureListening


class Evaluate(Settings):
    """Measure a batch by the published protocols, beside baselines, with a report."""

    future_listening: CliSubCommand[FutureListening]
    """Will a user listen to this track in the days to come? (Table 1)"""
    first_hours: CliSubCommand[FirstHours]
    """What will somebody play who has only just come? (Table 2)"""

    def cli_cmd(self) -> None:
        """Run the protocol."""
        CliApp.run_subcommand(self)
