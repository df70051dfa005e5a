"""What the service counts, over all of its processes.

Each process writes its counters to files of one folder (the multiprocess mode of
``prometheus_client``), and whichever replica is asked adds them up.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_apps.nrt_updates import Done

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
AGES = (0.25, 1.0, 10.0, 60.0, 3_600.0, 86_400.0, 172_800.0, 604_800.0)  # of vectors, seconds
METHODS = frozenset({"GET", "POST", "DELETE"})


class Metrics:
    """Counters of one process.

    Args:
        folder: of the files of all processes; made if it is not there.
    """

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.environ[FOLDER] = folder
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

        # It looks for the folder when it is imported, which Ray may have done long before.
        values.ValueClass = values.MultiProcessValue()
        own = CollectorRegistry()
        self._requests = Histogram(
            "tasteprint_request_seconds",
            "Seconds of a request.",
            ("method", "path", "status"),
            buckets=LATENCIES,
            registry=own,
        )
        self._events = Counter(
            "tasteprint_events", "Events that came in.", ("verdict",), registry=own
        )
        self._age = Histogram(
            "tasteprint_vector_age_seconds",
            "Age of the vectors that were read.",
            ("source",),
            buckets=AGES,
            registry=own,
        )
        self._missing = Counter(
            "tasteprint_vectors_missing", "Reads that found no vector.", registry=own
        )
        self._published = Counter(
            "tasteprint_vectors_published", "Vectors written.", ("space",), registry=own
        )
        self._held = Counter(
            "tasteprint_vectors_held", "Vectors that a gate held.", ("reason",), registry=own
        )
        self._repeated = Counter(
            "tasteprint_updates_repeated", "Users that two processes updated at once.", registry=own
        )
        self._lag = Histogram(
            "tasteprint_event_to_vector_seconds",
            "Seconds from an event in the log to its vector.",
            buckets=LATENCIES,
            registry=own,
        )
        self._backlog = Gauge(
            "tasteprint_backlog_bytes",
            "Bytes of the log that a space has not seen.",
            ("space",),
            multiprocess_mode="livemostrecent",
            registry=own,
        )
        self._live = Gauge(
            "tasteprint_live_since_seconds",
            "When a space was turned to.",
            ("space",),
            multiprocess_mode="livemostrecent",
            registry=own,
        )

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, path, str(status)).observe(seconds)

    def events(self, accepted: int, refused: int) -> None:
        """Count events that came in."""
        self._events.labels("accepted").inc(accepted)
        self._events.labels("refused").inc(refused)

    def read(self, source: str, age: float) -> None:
        """Count a vector that was read, and how many seconds old it was."""
        self._age.labels(source).observe(age)

    def missing(self) -> None:
        """Count a read that found no vector."""
        self._missing.inc()

    def step(self, space: str, done: Done, backlog: int) -> None:
        """Count what a step of an updater has done."""
        self._published.labels(space).inc(done.published)
        for reason, count in done.held.items():
            self._held.labels(reason).inc(count)
        self._repeated.inc(done.repeated)
        if done.oldest:
            self._lag.observe(max(time.time() - done.oldest / 1e6, 0.0))
        self._backlog.labels(space).set(backlog)

    def live(self, space: str) -> None:
        """Note which space answers for live."""
        self._live.labels(space).set(time.time())

    @staticmethod
    def text() -> tuple[bytes, str]:
        """The counters of all processes as Prometheus reads them, and their media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        every = CollectorRegistry()
        MultiProcessCollector(every)
        return generate_latest(every), CONTENT_TYPE_LATEST
