"""Who may commit to a table of an object store, where Spark commits to it.

A commit is a file that only one writer may make. delta-rs asks the store for that with each commit.
Delta's Spark cannot: on S3 it looks whether the file is there and then writes it, so of two drivers
one would overwrite the commit of the other, or one of delta-rs, and nobody would see it. So whoever
commits to a table of ``SPARK_COMMITS`` on S3, by Spark or not, holds its lease meanwhile.

``LAKEHOUSE/leases/TABLE.json`` says who that is. It is written if it is not there, or if it still
is the one that was read (conditional puts), renewed while the holder lives, and over ``SECONDS``
after the last renewal, by the store's clock. On a disk Spark's commits are safe without leases.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.contract import contract
from schemas.errors import LeaseError
from schemas.stores import is_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakehouse.storage import Lakehouse
    from schemas.s3 import S3FileSystem, Seen

SPARK_COMMITS = frozenset(
    {
        *("items", "users", "onboarding", "listens", "playlists"),
        *("taste_edits", "quarantine"),
        *("cooccurrence", "track_vectors", "training_vectors"),
    }
)
SECONDS = 60.0  # that a lease outlives its holder
RENEWALS = 4  # within that time
PATIENCE = 900.0  # seconds that somebody waits for a lease
POLL = 0.5  # seconds between two looks on average; nobody looks in step with another
ROUNDED = 2.0  # seconds by which the store's clock may be off, which shows whole ones

_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())


@contextmanager
def committing(lake: Lakehouse, table: str) -> Iterator[None]:
    """Be the only one who commits to a table, where that takes a lease; may be nested.

    Raises:
        LeaseError: somebody else holds it for very long, or it was lost before the end.
    """
    uri = f"{lake.uri}/leases/{contract(table).name}.json"
    if not is_s3(uri) or table not in SPARK_COMMITS or uri in _held.get():
        yield
        return
    lease = Lease(lake.filesystem, uri)
    lease.take()
    before = _held.set(_held.get() | {uri})
    try:
        with lease.renewed():
            yield
    finally:
        _held.reset(before)
        lease.give_back()
    lease.require_held()


class Lease:
    """One lease, and whether we hold it.

    Args:
        store: where it lies.
        uri: of its file.
        seconds: that it outlives its holder.
        patience: seconds that ``take`` waits.
    """

    def __init__(
        self, store: S3FileSystem, uri: str, seconds: float = SECONDS, patience: float = PATIENCE
    ) -> None:
        self._store, self._uri = store, uri
        self._seconds, self._patience = seconds, patience
        self._etag: str | None = None
        self._until = 0.0  # of our own clock; the store's lets it end later, never sooner
        self._end = threading.Event()

    def take(self) -> None:
        """Wait until nobody else holds the lease, and hold it.

        Raises:
            LeaseError: somebody else still does after a long time.
        """
        give_up = time.monotonic() + self._patience
        told = ""
        while True:
            seen = self._store.look(self._uri)
            if seen is None or self._left(seen) <= 0:
                if self._write(None if seen is None else seen.etag, self._seconds):
                    return
                continue
            holder, left = _holder(seen), self._left(seen)
            if time.monotonic() > give_up:
                raise LeaseError(
                    f"{holder} commits to this table, and nobody else may meanwhile: "
                    f"{self._uri} runs for {left:.0f} more seconds, and is renewed. "
                    "Wait for its end, and run this again"
                )
            if holder != told:
                sys.stderr.write(
                    f"waiting for {holder}, who commits to the same table: {self._uri} "
                    f"runs for {left:.0f} more seconds unless it is renewed\n"
                )
                told = holder
            time.sleep(min(random.uniform(0, 2 * POLL), left))  # noqa: S311 - no secret

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease by a thread meanwhile."""
        thread = threading.Thread(target=self._renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def give_back(self) -> None:
        """Let the next one have it at once; without effect if it is lost."""
        if self._etag is not None and time.monotonic() < self._until:
            self._write(self._etag, 0.0)

    def require_held(self) -> None:
        """Raise LeaseError if somebody else may have held the lease meanwhile."""
        if self._etag is None:
            raise LeaseError(
                f"{self._uri} ended while this process committed, which was halted or cut off from "
                f"the store for {self._seconds:.0f} seconds: whatever somebody else has committed "
                "meanwhile may be overwritten. Run this again, and what ran beside it"
            )

    def _renew(self) -> None:
        while not self._end.wait(self._seconds / RENEWALS):
            try:
                if not self._write(self._etag, self._seconds):
                    return
            except OSError:  # the store may be back in time
                if time.monotonic() > self._until:
                    self._etag = None
                    return

    def _write(self, etag: str | None, seconds: float) -> bool:
        """Make the lease ours for so long, if it still is what it was; returns whether it is."""
        begun = time.monotonic()
        told = {"holder": _me(), "seconds": seconds, "once": uuid.uuid4().hex}
        self._etag = self._store.exchange(self._uri, json.dumps(told).encode(), etag)
        self._until = begun + seconds
        return self._etag is not None

    def _left(self, seen: Seen) -> float:
        seconds = float(json.loads(seen.value)["seconds"])
        return seconds + ROUNDED - seen.age if seconds else 0.0


def _holder(seen: Seen) -> str:
    return str(json.loads(seen.value)["holder"])


def _me() -> str:
    return f"{Path(sys.argv[0]).name} on {platform.node()} (process {os.getpid()})"
