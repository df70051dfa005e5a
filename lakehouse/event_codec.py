"""Events as a log keeps them: JSON with the table whose contract they fit, and the row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LISTENS, ONBOARDING, TASTE_EDITS = "listens", "onboarding", "taste_edits"
TABLES = (LISTENS, ONBOARDING, TASTE_EDITS)  # that events of users belong to
FILLED = ("ingested_at",)  # by the service, when an event comes in


class Event(NamedTuple):
    """One event of one user.

    Attributes:
        table: whose contract it fits.
        row: as ``schemas.rows`` gives it: JSON's types, times as text; of a refused one as it came.
        reasons: why it was refused; empty for a good one.
    """

    table: str
    row: Mapping[str, Any]
    reasons: tuple[str, ...] = ()


def encode(event: Event) -> bytes:
    """An event as the log keeps it."""
    said: dict[str, Any] = {"table": event.table, "row": event.row}
    if event.reasons:
        said["reasons"] = event.reasons
    return to_json(said)


def decode(payload: bytes) -> Event:
    """The event of an entry of the log."""
    said = from_json(payload)
    return Event(said["table"], said["row"], tuple(said.get("reasons", ())))
