"""What is lost when the service is killed under load, part by part, or its disk cannot be written.

::

    python bench/serve_kills.py --kills 10

A service on a small lakehouse takes plays from several senders, each with an id that no other play
has. A sender who gets no answer sends the play again, or forgets it, by lot; some send again
what was accepted. Meanwhile somebody reads. By SIGKILL, at random moments: ``updates``, the process
that makes vectors; ``api``, the one that answers; ``proxy``, HAProxy; ``service``, all processes at
once, after which the same command is given again; ``redis``, the store, which is begun again on its
files. ``disk`` fills the disk of log and store, ``read-only`` serves from one that cannot be
written, and ``replica`` makes the Redis a read-only one; the first two need root, for a disk of
their own.

In the end every play that was accepted has to be once in the state of its user, and once in
``listens`` after ``tasteprint drain``, and both have to hold the same plays. Each kind is a line of
JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from serve_lake import make_live_batch, play, reads_of
from serve_load import JSON
from serve_process import PROGRAM, asked, serving
from serve_redis import DURABLE, Redis, redis_server
from session import said

from lakehouse.folder_log import ends
from lakehouse.online import open_store
from lakehouse.storage import Lakehouse
from ray_apps.nrt_space import NrtSpace, hashed
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from serve_process import Service

Kind = Literal["updates", "api", "proxy", "service", "redis", "disk", "read-only", "replica"]
NAMES = {"updates": b":updates", "api": b":api", "proxy": b"haproxy"}  # in a command line
KILLED = ("updates", "api", "proxy", "service", "redis")
ON_REDIS = ("redis", "replica")
PATIENCE = 300.0  # seconds, for anything that has to happen
AGAIN = 0.5  # of the plays that got no answer
TWICE = 0.1  # of those that were accepted
PAUSE = 0.01  # seconds between two requests of one sender
DISK = 64  # MB
LOOK = 3.0  # seconds for which a fault lasts
OK, ACCEPTED = 200, 202


class ServeKills(Settings):
    """Kill the service under load, and count what was lost."""

    kinds: tuple[Kind, ...] = ("updates", "api", "proxy", "service", "redis", "replica", "disk")
    """What is killed, or cannot be written."""
    kills: int = 10
    """How often, of each kind that is killed."""
    users: int = 200
    """Users who play."""
    senders: int = 4
    """At once."""
    apart: float = 5.0
    """Seconds between a recovery and the next kill, at most."""
    seed: int = 0
    """Of the moments."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make a lakehouse for each kind, and kill."""
    args = ServeKills.parse(argv)
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as name, ExitStack() as started:
            folder = Path(name)
            lake = Lakehouse(f"{folder}/lake")
            make_live_batch(lake, args.users)
            disk = folder / "served"
            disk.mkdir()
            if kind in {"disk", "read-only"}:
                started.enter_context(mounted(disk))
            server = (
                started.enter_context(redis_server(folder, DURABLE)) if kind in ON_REDIS else None
            )
            place = server.url if server else None
            service = started.enter_context(
                serving(lake, folder, args.users, "--jump", "2", place=place, kept=disk)
            )
            said(kind=kind, **faced(kind, service, server, args))


def faced(kind: Kind, service: Service, server: Redis | None, args: ServeKills) -> dict[str, Any]:
    """Let a service face faults of a kind under load, and count what came of it."""
    load = Load(service, args.senders, args.seed)
    with load:
        load.until_accepted()
        if kind in KILLED:
            found: dict[str, Any] = {"kills": killed(kind, service, server, load, args)}
        else:
            found = FAULTS[kind](service, server, load)
        load.until_accepted()
    return {**found, **load.told(), **counted(service, load)}


def killed(kind: Kind, service: Service, server: Redis | None, load: Load, args: ServeKills) -> int:
    """Kill at random moments, and wait after each until an event comes through again."""
    moments = random.Random(args.seed)  # noqa: S311 - no secret
    for _ in range(args.kills):
        time.sleep(moments.uniform(0, args.apart))
        if kind == "service":
            service.process.kill()
            service.process.start()
        elif kind == "redis" and server is not None:
            server.kill()
            time.sleep(moments.uniform(0, 1))
            server.start()
        else:
            kill(service, NAMES[kind])
        load.until_accepted()
        _until_worked_off(service)
    return args.kills


def kill(service: Service, name: bytes) -> None:
    """Kill one process of that name."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        for process in service.process.all():
            with suppress(OSError):
                if name in Path(f"/proc/{process}/cmdline").read_bytes():
                    os.kill(process, signal.SIGKILL)
                    return
        time.sleep(0.1)
    raise TimeoutError(f"there is no process {name.decode()}")


def disk_full(service: Service, _: Redis | None, load: Load) -> dict[str, Any]:
    """Fill the disk of log and store, look, and make room again."""
    filler = service.folder / "filler"
    with filler.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    found = _looked(service, load)
    filler.unlink()
    return found


def read_only(service: Service, _: Redis | None, load: Load) -> dict[str, Any]:
    """Serve from a disk that cannot be written, look, and serve as before."""
    service.process.stop()
    service.store.close()
    remount(service.folder, "ro")
    service.process.start()
    found = _looked(service, load)
    service.process.stop()
    remount(service.folder, "rw")
    service.process.start()
    service.store = open_store(service.place)
    return found


def replica(service: Service, server: Redis | None, load: Load) -> dict[str, Any]:
    """Make the Redis a read-only replica of nobody, look, and make it the first one again."""
    if server is None:
        raise RuntimeError("there is no Redis")
    with redis.Redis(port=server.port) as client:
        client.config_set("replica-serve-stale-data", "yes")
        client.replicaof("127.0.0.1", "1")
        found = _looked(service, load)
        client.replicaof("NO", "ONE")
    return found


def _looked(service: Service, load: Load) -> dict[str, Any]:
    """What is answered while something cannot be written."""
    time.sleep(1)  # for what was under way
    before = load.now()
    time.sleep(LOOK)
    erased = "accepted"
    try:
        asked(f"{service.front}/v1/users/nobody", service.token, method="DELETE")
    except urllib.error.HTTPError as error:
        erased = f"{error.code} {json.loads(error.read())['detail']}"
    after = load.now()
    return {
        "meanwhile": {name: dict(after[name] - before[name]) for name in ("events", "reads")},
        "erasure": erased,
    }


FAULTS: dict[str, Callable[[Service, Redis | None, Load], dict[str, Any]]] = {
    "disk": disk_full,
    "read-only": read_only,
    "replica": replica,
}


class Load:
    """Senders of plays and a reader, in threads of their own.

    Args:
        service: that is asked.
        senders: how many.
        seed: of what they play.
    """

    def __init__(self, service: Service, senders: int, seed: int) -> None:
        self._service, self._over, self._lock = service, threading.Event(), threading.Lock()
        self.sent: dict[str, str] = {}
        self.accepted: set[str] = set()
        self._seen = {"events": Counter[str](), "reads": Counter[str]()}
        self._longest, self._last = 0.0, time.monotonic()
        self._threads = [
            threading.Thread(target=self._send, args=(number, seed)) for number in range(senders)
        ]
        self._threads.append(threading.Thread(target=self._read))

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, once all have finished what they had begun."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def now(self) -> dict[str, Counter[str]]:
        """How often which status was seen."""
        with self._lock:
            return {name: seen.copy() for name, seen in self._seen.items()}

    def told(self) -> dict[str, Any]:
        """What came of it all."""
        return {
            "sent": len(self.sent),
            "accepted": len(self.accepted),
            "statuses": {name: dict(seen) for name, seen in self.now().items()},
            "longest_without_a_read_s": round(self._longest, 2),
        }

    def until_accepted(self) -> None:
        """Wait until a play is accepted that was sent after now."""
        before, give_up = len(self.accepted), time.monotonic() + PATIENCE
        while len(self.accepted) <= before + len(self._threads):
            if time.monotonic() > give_up:
                raise TimeoutError(f"nothing is accepted any more: {self.now()}")
            time.sleep(0.02)

    def _send(self, number: int, seed: int) -> None:
        lot = random.Random(seed + number)  # noqa: S311 - no secret
        service, count = self._service, 0
        while not self._over.is_set():
            count += 1
            user_id, event_id = lot.choice(service.users), f"kill-{number}-{count:07d}"
            body = play(user_id, lot.choice(service.items), event_id)
            self.sent[event_id] = user_id
            while not self._posted(body) and lot.random() < AGAIN and not self._over.is_set():
                time.sleep(PAUSE)
            if event_id in self.accepted and lot.random() < TWICE:
                self._posted(body)
            time.sleep(PAUSE)

    def _posted(self, body: str) -> bool:
        status = self._asked("events", f"{self._service.front}/v1/events", body)
        if status == ACCEPTED:
            self.accepted.add(json.loads(body)["listens"][0]["event_id"])
        return status == ACCEPTED

    def _read(self) -> None:
        asks = reads_of(self._service.users, JSON)
        while not self._over.is_set():
            for ask in asks:
                if self._asked("reads", f"{self._service.front}{ask.path}") == OK:
                    now = time.monotonic()
                    self._longest, self._last = max(self._longest, now - self._last), now
                if self._over.wait(PAUSE):
                    break

    def _asked(self, what: str, url: str, body: str | None = None) -> int:
        """The status of an answer; 0 of none."""
        try:
            asked(url, self._service.token, body=body)
            status = ACCEPTED if body else OK
        except urllib.error.HTTPError as error:
            status = error.code
        except (OSError, HTTPException):
            status = 0
        with self._lock:
            self._seen[what][str(status or "no answer")] += 1
        return status


def _until_worked_off(service: Service) -> None:
    """Wait until all that the log holds now is in vectors."""
    goal, give_up = ends(service.folder / "events"), time.monotonic() + PATIENCE
    while True:
        with suppress(Exception):  # a store that was killed
            seen = service.store.position(service.space)
            if all(seen.get(name, 0) >= end for name, end in goal.items()):
                return
        if time.monotonic() > give_up:
            raise TimeoutError(f"events are not worked off: {seen} of {goal}")
        time.sleep(0.05)


def counted(service: Service, load: Load) -> dict[str, Any]:
    """Of all plays how often each is in the state of its user, and in the lakehouse."""
    _until_worked_off(service)
    command = [PROGRAM, "drain", "--lakehouse", service.lake.uri]
    subprocess.run(
        [*command, "--event-log", f"{service.folder}/events"], check=True, capture_output=True
    )
    ours = pc.starts_with(pc.field("event_id"), "kill-")
    rows = service.lake.rows("listens", ours, ["event_id", "user_id"])
    in_lake = Counter(rows["event_id"].to_pylist())
    by_user = defaultdict(list)
    for row in rows.to_pylist():
        by_user[row["user_id"]].append(row["event_id"])
    space = NrtSpace(service.lake, service.lake.batches.get("live"))
    every = hashed(pa.array(list(load.sent)))
    differ = 0
    for user_id, state in zip(
        service.users, service.store.states(service.space, service.users), strict=True
    ):
        known = space.bytes.decode(state.value).plays["event"] if state else np.zeros(0, np.uint64)
        in_state = np.sort(known[np.isin(known, every)])
        wanted = np.sort(hashed(pa.array(by_user[user_id], pa.string())))
        differ += not np.array_equal(in_state, wanted)
    return {
        "lost": len(load.accepted - in_lake.keys()),
        "twice": sum(count > 1 for count in in_lake.values()),
        "in_lakehouse": len(in_lake),
        "users_whose_state_differs": differ,
        "exactly_once": load.accepted <= in_lake.keys()
        and set(in_lake.values()) == {1}
        and not differ,
    }


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A disk of its own in a folder."""
    options = ["-t", "tmpfs", "-o", f"size={DISK}m", "tasteprint-bench", str(folder)]
    if os.geteuid():
        raise SystemExit("a disk of its own needs root: leave out disk and read-only")
    _run("mount", *options)
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def remount(folder: Path, how: str) -> None:
    """Make the disk read-only or not."""
    _run("mount", "-o", f"remount,{how}", str(folder))


def _run(program: str, *flags: str) -> None:
    subprocess.run([shutil.which(program) or program, *flags], check=True)


if __name__ == "__main__":
    main()
