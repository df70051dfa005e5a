"""The service of a bench: ``tasteprint serve`` as a person starts it, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serve_lake import plays_of, reads_of, some_of
from session import children

from lakehouse.folder_log import ends
from lakehouse.online import OnlineStore, open_store
from ray_apps.nrt_directory import read_directory
from ray_apps.tokens import SCOPES, new_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serve_load import Ask

    from lakehouse.storage import Lakehouse

PROGRAM = str(Path(sys.executable).with_name("tasteprint"))
PATIENCE = 1_800  # seconds for a large batch to be loaded
STOPPING = 60  # seconds
SETTLED = 0.5  # seconds after which counters have followed the store
ITEMS = 1_000  # that are played
COUNTER = re.compile(r"^(\w+)(\{.*\})? (\S+)$", re.MULTILINE)
# Ports of Ray Serve that are the same for each service of a machine.
FIXED = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)


class Process:
    """``tasteprint serve`` as a process, which may be ended and begun again.

    Args:
        flags: of the command.
        url: of the front.
        log: file of what it says.
    """

    def __init__(self, flags: Sequence[str], url: str, log: Path) -> None:
        self._command, self._url, self._log = [PROGRAM, "serve", *flags], url, log
        others = zip(FIXED, map(str, free_ports(len(FIXED))), strict=True)
        self._environment = {**os.environ, **dict(others)}
        self._environment.pop("RAY_ADDRESS", None)
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, and wait until the live batch is served.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and self._running.poll() is None:
            with suppress(OSError):
                asked(f"{self._url}/readyz")
                return
            time.sleep(0.5)
        raise RuntimeError(
            f"the service did not become ready; it said: {self._log.read_text()[-2_000:]}"
        )

    def all(self) -> list[int]:
        """The process and all that come from it."""
        found = [self._running.pid] if self._running else []
        for process in found:
            found += children(process)
        return found

    def stop(self) -> None:
        """End in its own way if it can."""
        if self._running is not None:
            stop(self._running)

    def kill(self) -> None:
        """End it and all that come from it, at once."""
        for process in self.all():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if self._running is not None:
            self._running.wait()


@dataclass
class Service:
    """A service that runs.

    Attributes:
        lake: whose live batch it serves.
        folder: where its log is, and its store where it is a folder.
        place: of the store.
        port, read_port: of the front, and of the replicas' own listener.
        token: that may do everything.
        store: the online store, opened by this process too.
        space: of the live batch in it.
        users, items: ids of the batch, that are asked for and played.
        process: of ``tasteprint serve``.
    """

    lake: Lakehouse
    folder: Path
    place: str
    port: int
    read_port: int
    token: str
    store: OnlineStore
    space: str
    users: list[str]
    items: list[str]
    process: Process

    @property
    def front(self) -> str:
        """URL of HAProxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def direct(self) -> str:
        """URL of the listener without it."""
        return f"http://127.0.0.1:{self.read_port}"

    def plays(self) -> list[Ask]:
        """A play of each user, now."""
        return plays_of(self.users, self.items)

    def reads(self, accept: str) -> list[Ask]:
        """A read of each user's vector."""
        return reads_of(self.users, accept)

    def waiting(self) -> int:
        """Bytes of events that are in no vector yet; the store knows it together with vectors."""
        seen = self.store.position(self.space)
        there = ends(self.folder / "events")
        return sum(max(end - seen.get(name, 0), 0) for name, end in there.items())

    def wait_until_done(self) -> float:
        """Wait until all events are in vectors; returns the seconds that it took."""
        began = time.perf_counter()
        while self.waiting():
            time.sleep(0.005)
        return time.perf_counter() - began

    def counted(self, name: str) -> dict[str, float]:
        """A counter of the service, by its labels as Prometheus writes them."""
        time.sleep(SETTLED)
        text = asked(f"{self.front}/metrics", self.token).decode()
        return {
            labels: float(value) for found, labels, value in COUNTER.findall(text) if found == name
        }

    def published(self) -> float:
        """Vectors that were made."""
        return sum(self.counted("tasteprint_vectors_published_total").values())


@contextmanager
def serving(
    lake: Lakehouse,
    folder: Path,
    users: int,
    *flags: str,
    place: str | None = None,
    kept: Path | None = None,
) -> Iterator[Service]:
    """A service of the live batch, warm, with an empty log; stopped in the end.

    Args:
        lake: the lakehouse.
        folder: an empty one.
        users: who are asked for and played, at most.
        flags: more of them.
        place: of the store; a folder without it.
        kept: where log and store are; the same folder without it.
    """
    token, line = new_token("bench", list(SCOPES))
    tokens = folder / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"{line}\n")
    port, read_port = free_ports(2)
    kept = kept or folder
    place = place or f"{kept}/online"
    own = ["--lakehouse", lake.uri, "--token-file", str(tokens), "--metrics", f"{folder}/metrics"]
    own += ["--port", str(port), "--read-port", str(read_port)]
    own += ["--store", place, "--event-log", f"{kept}/events"]
    batch = lake.batches.get("live")
    process = Process([*own, *flags], f"http://127.0.0.1:{port}", folder / "log")
    try:
        process.start()
        store = open_store(place)
        service = Service(
            lake=lake,
            folder=kept,
            place=place,
            port=port,
            read_port=read_port,
            token=token,
            store=store,
            space=read_directory(store).live or "",
            users=some_of(lake, batch, "user_embeddings", "user_id", users),
            items=some_of(lake, batch, "track_vectors", "item_id", ITEMS),
            process=process,
        )
        yield service
        service.store.close()
    finally:
        process.stop()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, in its own way if it can."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOPPING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def asked(
    url: str,
    token: str = "",
    accept: str = "*/*",
    body: str | None = None,
    method: str | None = None,
) -> bytes:
    """The body of an answer.

    Raises:
        urllib.error.HTTPError: its status is 400 or above.
    """
    headers = {"Authorization": f"Bearer {token}", "Accept": accept}
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(  # noqa: S310 - our own, on loopback
        url, body.encode() if body else None, headers, method=method
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        found: bytes = answer.read()
        return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
