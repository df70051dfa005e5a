"""The parts of the service, put together from its settings; each process makes its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from lakehouse.logs import open_log
from lakehouse.online import open_store
from lakehouse.storage import Lakehouse
from lakehouse.suppression import erasure_key
from ray_apps.nrt_items import KnownItems
from ray_apps.nrt_metrics import Metrics
from ray_apps.nrt_service import Limits, NrtService
from ray_apps.tokens import Tokens
from schemas.errors import InputError, TasteprintError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray_apps.nrt_followers import Followers
    from ray_apps.nrt_keeper import Keeper
    from ray_apps.nrt_settings import ServeNrt
    from ray_apps.nrt_space import NrtSpace
    from ray_apps.nrt_updates import SpaceUpdater

log = logging.getLogger("ray.serve")

DAY = 86_400_000_000  # microseconds
TOKENS = "TASTEPRINT_TOKENS"
HOUR = 3_600.0  # seconds
BACKLOG_AGE = 0.25  # seconds that what is known of the backlog may be old


class Parts:
    """Makes the parts of the service.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: ServeNrt) -> None:
        self._settings, self._log = settings, open_log(settings.event_log)
        self.lake = Lakehouse(settings.lakehouse)
        self.store = open_store(settings.store, settings.store_size)
        self.metrics = Metrics(settings.metrics)
        self._key = erasure_key(self.lake)

    def tokens(self) -> Tokens:
        """Who may ask.

        Raises:
            InputError: nobody may, which is a mistake.
        """
        if self._settings.token_file is not None:
            return Tokens.from_file(self._settings.token_file)
        said = os.environ.get(TOKENS)
        if not said:
            raise InputError(
                f"nobody could ask this service anything: give --token-file or set {TOKENS}; "
                "`tasteprint tokens NAME` makes a token"
            )
        return Tokens.from_text(said)

    def service(self) -> NrtService:
        """What takes events in and answers."""
        limits = Limits(self._settings.max_backlog, self._settings.stale_hours * HOUR)
        found = NrtService(
            self.store,
            self._log.writer(),
            KnownItems(self.lake),
            self._key,
            self.metrics,
            limits,
        )
        watch = Backlog(lambda: self._backlog(found))
        watch.start()
        found.backlog = watch.now
        return found

    def _backlog(self, service: NrtService) -> int:
        live = service.directory.get().live
        seen = self.store.position(live) if live else {}
        return sum(max(end - seen.get(name, end), 0) for name, end in self._log.ends().items())

    def followers(self) -> Followers:
        """What reads the log into the spaces of the store."""
        from ray_apps.nrt_followers import Followers  # and PyTorch, which the api has no use for

        return Followers(self.lake, self.store, self.updater, self.metrics)

    def updater(self, space: NrtSpace) -> SpaceUpdater:
        """What reads the log into one space."""
        from ray_apps.nrt_gate import VectorGate
        from ray_apps.nrt_updates import Serving, SpaceUpdater

        since = round(space.as_of - self._settings.replay_days * DAY)
        reader = self._log.reader(
            space.name, lambda name: self.store.position(space.name).get(name), max(since, 0)
        )
        serving = Serving(
            gate=VectorGate(self._settings.jump),
            key=self._key,
            dtype=self._settings.dtype,
            keep_days=self._settings.keep_days,
            by_events=self._settings.moment == "events",
        )
        return SpaceUpdater(space, self.store, reader, serving)

    def keeper(self, say: Callable[[str], None]) -> Keeper:
        """What brings batches into the store."""
        from ray_apps.nrt_keeper import Keeper

        return Keeper(
            self.lake,
            self.store,
            self._log.ends,
            dtype=self._settings.dtype,
            grace=self._settings.grace_seconds,
            key=self._key,
            say=say,
        )


class Backlog(threading.Thread):
    """Looks again and again how much of the log waits, so that no request has to.

    Args:
        ask: how much it is now.
    """

    def __init__(self, ask: Callable[[], int]) -> None:
        super().__init__(name="backlog", daemon=True)
        self._ask, self._known = ask, 0

    def now(self) -> int:
        """How much it was a moment ago."""
        return self._known

    def run(self) -> None:
        """Look, for as long as the process lives."""
        while True:
            try:
                self._known = self._ask()
            except TasteprintError:  # a store or log that does not answer says so to who needs it
                log.exception("nobody knows how much of the log waits")
            time.sleep(BACKLOG_AGE)
