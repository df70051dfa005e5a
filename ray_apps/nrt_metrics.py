"""What the service counts, over all of its processes.

Each process writes its counters to files of one folder (the multiprocess mode of
``prometheus_client``), and whichever replica is asked adds them up. What is counted for each
request is kept in memory first and goes to the files several times a second: a read of a vector
takes 20 microseconds in all, and a number in a file 2.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Histogram

    from ray_apps.nrt_updates import Done

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
AGES = (0.25, 1.0, 10.0, 60.0, 3_600.0, 86_400.0, 172_800.0, 604_800.0)  # of vectors, seconds
WRITE_EVERY = 0.25  # seconds
METHODS = frozenset({"GET", "POST", "DELETE"})


class Tally:
    """What a histogram is to be told, by bucket.

    Args:
        histogram: one with its labels.
        bounds: upper ends of its buckets but for the last, which has none.
    """

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram, self._bounds = histogram, bounds
        self._lock = threading.Lock()
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def write(self) -> None:
        """Tell the histogram what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, [0] * len(self._counts)
            total, self._sum = self._sum, 0.0
        if not any(counts):
            return
        for bucket, count in zip(self._histogram._buckets, counts, strict=True):  # noqa: SLF001 - it has no way to be told many at once
            bucket.inc(count)
        self._histogram._sum.inc(total)  # noqa: SLF001 - as above


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

        self._of_requests: dict[tuple[str, str, int], Tally] = {}
        self._of_reads: dict[str, Tally] = {}
        threading.Thread(target=self._write, name="metrics", daemon=True).start()

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        tally = self._of_requests.get((method, path, status))
        if tally is None:
            known = method if method in METHODS else "other"
            own = self._requests.labels(known, path, str(status))
            tally = self._of_requests.setdefault((known, path, status), Tally(own, LATENCIES))
        tally.add(seconds)

    def events(self, accepted: int, refused: int) -> None:
        """Count events that came in."""
        self._events.labels("accepted").inc(accepted)
        self._events.labels("refused").inc(refused)

    def read(self, source: str, age: float) -> None:
        """Count a vector that was read, and how many seconds old it was."""
        tally = self._of_reads.get(source)
        if tally is None:
            tally = self._of_reads.setdefault(source, Tally(self._age.labels(source), AGES))
        tally.add(age)

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

    def write(self) -> None:
        """Bring what was counted in memory into the files."""
        for tally in [*self._of_requests.values(), *self._of_reads.values()]:
            tally.write()

    def _write(self) -> None:
        while True:
            time.sleep(WRITE_EVERY)
            self.write()

    def text(self) -> tuple[bytes, str]:
        """The counters of all processes as Prometheus reads them, and their media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self.write()
        every = CollectorRegistry()
        MultiProcessCollector(every)
        return generate_latest(every), CONTENT_TYPE_LATEST
