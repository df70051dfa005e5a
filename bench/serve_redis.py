"""A Redis of a bench's own, on loopback, which may be killed and begun again."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import redis
from serve_process import free_ports, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60  # seconds for a server to begin
IN_MEMORY = ("--save", "")
DURABLE = ("--save", "", "--appendonly", "yes")


class Redis:
    """A server of its own.

    Args:
        folder: where it writes what it writes.
        kept: its flags that say what it writes.
    """

    def __init__(self, folder: Path, kept: tuple[str, ...] = IN_MEMORY) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server is not installed: apt-get install redis-server")
        (self.port,) = free_ports(1)
        self._command = [program, "--port", f"{self.port}", "--bind", "127.0.0.1"]
        self._command += ["--dir", f"{folder}", "--logfile", "redis.log", *kept]
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"redis://{self.place}/0"

    def start(self) -> None:
        """Begin, and wait until it answers.

        Raises:
            TimeoutError: it does not.
        """
        self._running = subprocess.Popen(self._command)
        give_up = time.monotonic() + PATIENCE
        with redis.Redis(port=self.port) as client:
            while time.monotonic() < give_up:
                with suppress(redis.ConnectionError):  # BusyLoadingError is one
                    client.ping()
                    return
                time.sleep(0.05)
        raise TimeoutError("the Redis of the bench does not answer")

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def stop(self) -> None:
        """End it in its own way."""
        if self._running is not None:
            stop(self._running)


@contextmanager
def redis_server(folder: Path, kept: tuple[str, ...] = IN_MEMORY) -> Iterator[Redis]:
    """A Redis as long as it is needed."""
    server = Redis(folder, kept)
    try:
        server.start()
        yield server
    finally:
        server.stop()
