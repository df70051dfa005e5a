"""The online stores alone: ours on LMDB and on Redis, and Feast on the same Redis.

In the process: from ids to the vectors of 1 and of 100 users, one call after the other on one
connection. Ours are NumPy arrays at the end of it; Feast's answer is its own object, whose lists
are made later, and that time is not counted. Over HTTP: Feast's server of one process beside our
``embeddings:batchGet``, 100 users a request. The vectors, the machine and the Redis, which writes
no file, are the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from serve_load import Ask, load
from serve_process import asked, free_ports, stop
from serve_redis import redis_server
from session import said

from lakehouse.online import open_store, unpack_vector
from schemas.arrow import list_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_process import Service

    from lakehouse.online import OnlineStore

SCRIPT = str(Path(__file__).with_name("feast_peer.py"))
AT_ONCE = (1, 100)  # users
MANY = 100
CONNECTIONS = 8  # of HTTP
WARM = 5  # calls before it counts
PATIENCE = 120  # seconds for a server to begin


def stores(service: Service, feast_python: str | None, *, seconds: int, repeats: int) -> None:
    """Measure each store, in the process and over HTTP."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as started:
        folder = Path(name)
        server = started.enter_context(redis_server(folder))
        ours = {"LMDB": service.store, "Redis": copied(service, server.url)}
        feast = Feast(feast_python, folder) if feast_python else None
        if feast is None:
            print("Feast is left out: --feast-python names no Python", file=sys.stderr)
        else:
            feast.make(service, server.place)
        for repeat in range(repeats):
            for store, opened in ours.items():
                for users in AT_ONCE:
                    line = read(opened, service, users, seconds)
                    said(part="stores", repeat=repeat, what=store, **line)
            for line in feast.read(seconds) if feast else ():
                said(part="stores", repeat=repeat, what="Feast", **line)
        over_http(service, feast, seconds=seconds, repeats=repeats)


def copied(service: Service, url: str) -> OnlineStore:
    """A store with the vectors of those who are asked for."""
    store = open_store(url)
    rows = service.store.vectors(service.space, service.users)
    store.load(
        service.space, ((user, None, row) for user, row in zip(service.users, rows, strict=True))
    )
    return store


def read(store: OnlineStore, service: Service, users: int, seconds: float) -> dict[str, float]:
    """Read the vectors of so many users at once for so many seconds."""
    ids, took, first = service.users, [], 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        asked_for = [ids[(first + n) % len(ids)] for n in range(users)]
        began = time.perf_counter()
        for record in store.vectors(service.space, asked_for):
            _ = unpack_vector(record or b"").values
        took.append(time.perf_counter() - began)
        first += users
    return {
        "users": users,
        "p50_ms": round(float(np.quantile(took, 0.5)) * 1e3, 3),
        "p99_ms": round(float(np.quantile(took, 0.99)) * 1e3, 3),
        "users_per_second": round(users * len(took) / sum(took)),
    }


class Feast:
    """Feast in its own environment.

    Args:
        python: of that environment.
        folder: where its repository is made.
    """

    def __init__(self, python: str, folder: Path) -> None:
        self._python, self._repository = python, folder / "feast"
        self._repository.mkdir()

    def make(self, service: Service, place: str) -> None:
        """Give it the vectors of those who are asked for."""
        rows = service.store.vectors(service.space, service.users)
        vectors = np.stack([unpack_vector(row or b"").values for row in rows])
        file = self._repository / "vectors.parquet"
        columns = {"user_id": service.users, "embedding": list_column(vectors.astype(np.float32))}
        pq.write_table(pa.table(columns), file)
        self._run("make", "--redis", place, "--vectors", str(file))

    def read(self, seconds: float) -> list[dict[str, Any]]:
        """What it measures in its own process."""
        flags = [word for users in AT_ONCE for word in ("--users", str(users))]
        said_by_it = self._run("read", "--seconds", str(seconds), *flags)
        return [json.loads(line) for line in said_by_it.splitlines() if line.startswith("{")]

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its own server, as long as it is measured; gives the URL."""
        (port,) = free_ports(1)
        program = str(Path(self._python).with_name("feast"))
        command = [program, "-c", str(self._repository), "serve", "--port", str(port)]
        command += ["--host", "127.0.0.1", "--no-access-log"]
        log = (self._repository / "log").open("wb")
        process = subprocess.Popen(command, env=_environment(), stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/health")
            yield url
        finally:
            stop(process)
            log.close()

    def _run(self, what: str, *flags: str) -> str:
        command = [self._python, SCRIPT, what, str(self._repository), *flags]
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"Feast could not {what}: {done.stderr[-2_000:]}")
        return done.stdout


def over_http(service: Service, feast: Feast | None, *, seconds: int, repeats: int) -> None:
    """Vectors of 100 users a request, from us and from Feast."""
    parts = [service.users[n : n + MANY] for n in range(0, len(service.users), MANY)]
    ours = [Ask("POST", "/v1/embeddings:batchGet", json.dumps({"user_ids": ids})) for ids in parts]
    wanted = {"features": ["vectors:embedding"]}
    theirs = [
        Ask("POST", "/get-online-features", json.dumps({**wanted, "entities": {"user_id": ids}}))
        for ids in parts
    ]
    with ExitStack() as started:
        peers = {"front": (service.front, ours), "direct": (service.direct, ours)}
        if feast is not None:
            peers["Feast"] = (started.enter_context(feast.serving()), theirs)
        for repeat in range(repeats):
            for name, (url, asks) in peers.items():
                found = load(url, asks, service.token, connections=CONNECTIONS, seconds=seconds)
                line = {"users": MANY, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}
                speed = {"users_per_second": round(MANY * found.per_second), "by": found.by}
                said(part="stores over HTTP", repeat=repeat, what=name, **line, **speed)


def _wait_for(url: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        with suppress(urllib.error.URLError, OSError):
            asked(url)
            return
        time.sleep(0.2)
    raise TimeoutError(f"nobody answers at {url}")


def _environment() -> dict[str, str]:
    """Of Feast's processes: nothing is to be told to its makers."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "FEAST_USAGE": "False"}
