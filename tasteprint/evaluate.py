"""``tasteprint evaluate``: the published protocols, over a batch that is there."""

from __future__ import annotations

from pydantic_settings import CliApp, CliSubCommand

from schemas.settings import Settings
from tasteprint.protocols.first_hours import FirstHours
from tasteprint.protocols.future_listening import FutureListening
from tasteprint.protocols.neighbourhoods import Neighbourhoods
from tasteprint.protocols.stability import Stability
from tasteprint.protocols.truth import Truth


class Evaluate(Settings):
    """Measure a batch by the published protocols, beside baselines, with a report."""

    future_listening: CliSubCommand[FutureListening]
    """Will a user listen to this track in the days to come? (Table 1)"""
    first_hours: CliSubCommand[FirstHours]
    """What will somebody play who has only just come? (Table 2)"""
    neighbourhoods: CliSubCommand[Neighbourhoods]
    """Are users near whom they share a favourite, a country or a pick with? (Table 3)"""
    stability: CliSubCommand[Stability]
    """How far do users and items move between two batches, before and after a bridge?"""
    truth: CliSubCommand[Truth]
    """How much of what simulated listeners truly like is in their vectors?"""

    def cli_cmd(self) -> None:
        """Run the protocol."""
        CliApp.run_subcommand(self)
