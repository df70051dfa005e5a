"""One thread for each space of the directory, which reads the log into it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ray_apps.nrt_directory import batch_of, read_directory
from ray_apps.nrt_inference import BatchInference
from ray_apps.nrt_space import NrtSpace, at_moment
from schemas.errors import BatchError, TasteprintError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakehouse.online import OnlineStore
    from lakehouse.storage import Lakehouse
    from ray_apps.nrt_metrics import Metrics
    from ray_apps.nrt_updates import SpaceUpdater

log = logging.getLogger("ray.serve")

WAIT = 0.2  # seconds that a thread waits for events before it looks whether it is to end
AGAIN = 1.0  # seconds before what failed is tried again


class Followers:
    """Begins and ends threads as the directory says.

    Args:
        lake: the lakehouse.
        store: the online store.
        updater_of: makes what reads the log into a space.
        metrics: what is counted.
    """

    def __init__(
        self,
        lake: Lakehouse,
        store: OnlineStore,
        updater_of: Callable[[NrtSpace], SpaceUpdater],
        metrics: Metrics,
    ) -> None:
        self._lake, self._store = lake, store
        self._updater_of, self._metrics = updater_of, metrics
        self._running: dict[str, Follower] = {}

    def look(self) -> None:
        """Begin to follow what is new in the directory, and end what is gone."""
        wanted = set(read_directory(self._store).followed)
        for name in set(self._running) - wanted:
            self._running.pop(name).close()
        for name in sorted(wanted - set(self._running)):
            batch = self._lake.batches.get(batch_of(name))
            space = NrtSpace(self._lake, at_moment(batch, name))
            space.warm_up()
            updater = self._updater_of(space)
            self._running[name] = Follower(self._lake, space, updater, self._metrics)

    def inference(self, batch_id: str) -> BatchInference:
        """What answers with the model of a batch; its newest space, where there are two.

        Raises:
            BatchError: the batch is not followed here.
        """
        ours = [name for name in self._running if batch_of(name) == batch_id]
        if not ours:
            raise BatchError(f"batch {batch_id} is not served here yet: try again")
        return self._running[max(ours)].inference

    def warm(self) -> bool:
        """Whether what answers for live is followed here."""
        live = read_directory(self._store).live
        return live is not None and live in self._running

    def check(self) -> None:
        """Raise RuntimeError if a thread has died."""
        for name, follower in self._running.items():
            if not follower.alive:
                raise RuntimeError(f"the thread that follows {name} has died")

    def close(self) -> None:
        """End all threads; each finishes the step that it is at."""
        for follower in self._running.values():
            follower.close()


class Follower:
    """Reads the log into one space, until it is closed.

    Args:
        lake: the lakehouse.
        space: of the batch.
        updater: that reads.
        metrics: what is counted.
    """

    def __init__(
        self, lake: Lakehouse, space: NrtSpace, updater: SpaceUpdater, metrics: Metrics
    ) -> None:
        self._lake, self._space, self._updater, self._metrics = lake, space, updater, metrics
        self._inference: BatchInference | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=space.name, daemon=True)
        self._thread.start()
        threading.Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Make the indexes before anybody asks for them; events need not wait for that."""
        _ = self.inference

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    @property
    def inference(self) -> BatchInference:
        """What answers with the model, made when it is first asked for."""
        with self._lock:
            if self._inference is None:
                by_events = self._updater.by_events
                self._inference = BatchInference(self._lake, self._space, by_events=by_events)
            return self._inference

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                done = self._updater.step(WAIT)
                self._metrics.step(self._space.name, done, self._updater.backlog())
            except TasteprintError as error:  # the store or the log: nothing of it is lost
                log.error("%s is not brought up to date: %s", self._space.name, error)  # noqa: TRY400 - it says what to do
                self._stop.wait(AGAIN)
        self._updater.close()

    def close(self) -> None:
        """Finish the step that it is at, and end."""
        self._stop.set()
        self._thread.join()
