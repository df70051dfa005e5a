"""A real Redis on loopback with its append-only file on, which a test may kill and start again."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE = 60  # seconds for a start on a busy machine


class RedisServer:
    """A server of a test's own.

    Args:
        folder: where it keeps its files.
        options: of its command line, beyond ours.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        self._folder, self._options, self._program = folder, options, program
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def start(self) -> "RedisServer":
        """Start it on its port, with what it had before, and wait until it answers."""
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        command += ["--logfile", "redis.log", *self._options]
        self.process = subprocess.Popen(command)
        give_up = time.monotonic() + PATIENCE
        with self.client() as client:
            while time.monotonic() < give_up:
                try:
                    return client.ping() and self
                except redis.AuthenticationError:
                    return self
                except redis.ConnectionError:
                    time.sleep(0.02)
        raise TimeoutError((self._folder / "redis.log").read_text())

    def client(self) -> redis.Redis:
        """A connection beside the store's."""
        return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
