"""Which spaces the online store holds, how far each is, and which one answers for live.

One small document in the store, changed by compare-and-set. Readers turn from one batch to another
with one write of it, so no answer is of both.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from schemas.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakehouse.online import OnlineStore

NOTE = "directory"
SECONDS_OLD = 0.2  # that an answer may be
Stage = Literal["loading", "following", "serving"]


class Directory(BaseModel):
    """The document.

    Attributes:
        live, legacy: the spaces that answer for these words; None while there is none.
        stages: by space: its rows are being loaded; the log is being read into it; it can answer.
        left: by space that nobody wants any more, since when, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: str | None = None
    legacy: str | None = None
    stages: dict[str, Stage] = {}
    left: dict[str, float] = {}

    @property
    def followed(self) -> list[str]:
        """The spaces that events go to."""
        return [space for space, stage in self.stages.items() if stage != "loading"]

    def space_of(self, batch: str) -> str:
        """The space that answers for ``live``, ``legacy`` or a batch's id.

        Raises:
            BatchError: there is none.
        """
        ours = [
            space
            for space, stage in self.stages.items()
            if stage == "serving" and batch_of(space) == batch
        ]
        found = {"live": self.live, "legacy": self.legacy}.get(batch, max(ours, default=None))
        if found is None:
            served = sorted({batch_of(space) for space in self.stages})
            raise BatchError(f"batch {batch[:64]!r} is not served; there are live and {served}")
        return found


def batch_of(space: str) -> str:
    """The batch whose vectors a space holds."""
    return space.partition("@")[0]


def read_directory(store: OnlineStore) -> Directory:
    """The directory as it is now."""
    note = store.note(NOTE)
    return Directory.model_validate_json(note) if note else Directory()


def change_directory(store: OnlineStore, change: Callable[[Directory], Directory]) -> Directory:
    """Change the directory, from whatever it is at that moment."""
    while True:
        note = store.note(NOTE)
        before = Directory.model_validate_json(note) if note else Directory()
        after = change(before)
        if after == before or store.set_note(NOTE, after.model_dump_json().encode(), note):
            return after


class RecentDirectory:
    """The directory as it was a moment ago, for those who ask thousands of times a second.

    Args:
        store: that holds it.
    """

    def __init__(self, store: OnlineStore) -> None:
        self._store, self._read_at, self._known = store, float("-inf"), Directory()

    def get(self) -> Directory:
        """The directory, at most SECONDS_OLD."""
        now = time.monotonic()
        if now - self._read_at > SECONDS_OLD:
            self._known, self._read_at = read_directory(self._store), now
        return self._known
