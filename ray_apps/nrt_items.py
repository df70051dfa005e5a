"""Which items there are, for a process that judges events as they come."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from schemas.errors import InputError

if TYPE_CHECKING:
    from lakehouse.storage import Lakehouse

LOOK_EVERY = 10.0  # seconds between looks at the catalogue


class KnownItems:
    """The ids of the newest version of ``items``, which is read again when it has changed.

    Args:
        lake: the lakehouse.
    """

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake
        self._version, self._ids = -1, frozenset[str]()
        self._looked_at, self._lock = float("-inf"), threading.Lock()
        self._look()

    def __call__(self, item_id: str) -> bool:
        """Whether there is an item of that id, as of a few seconds ago."""
        if item_id in self._ids:
            return True
        if time.monotonic() - self._looked_at > LOOK_EVERY:
            self._look()
        return item_id in self._ids

    def _look(self) -> None:
        with self._lock:
            self._looked_at = time.monotonic()
            try:
                newest = self._lake.open("items").version()
            except InputError:  # nothing was taken in yet
                return
            if newest != self._version:
                rows = self._lake.rows("items", columns=["item_id"])
                self._ids, self._version = frozenset(rows["item_id"].to_pylist()), newest
