"""Ray's launcher and its jobs, as a person uses them from a machine outside of the cluster."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError

import yaml

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.hosts import Host

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / "cluster.local.yaml"
# Each host believes that the machine is its own. Two CPUs, for halves of them train and a reader
# needs a whole one.
SMALL = "ray start --num-cpus=2 --object-store-memory=200000000"
# One process reads Parquet footers instead of 32; Ray Train hears of a checkpoint before the next.
QUICK = "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS=1 RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.3"
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
DASHBOARD = 8265
PATIENCE = 120  # seconds until all hosts have joined, or the dashboard answers
ENDED = 10  # characters of a log's end that are shown: so many thousands
RAY = str(Path(sys.executable).with_name("ray"))


class Job:
    """A submitted job; what it prints goes to a file.

    Args:
        process: ``ray job submit``, which ends with the job.
        log: the file.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self.log = process, log

    def wait(self, timeout: float) -> str:
        """What it has printed, after its end.

        Raises:
            InputError: it failed.
        """
        status = self._process.wait(timeout)
        if status:
            raise InputError(f"the job ended with status {status}: {self._end()}")
        return self.log.read_text()

    def until(self, moment: Any, timeout: float) -> None:
        """Wait for a moment in the midst of the job.

        Args:
            moment: a function that tells whether it has come.
            timeout: seconds.

        Raises:
            InputError: the job ended before, or it never came.
        """
        give_up = time.monotonic() + timeout
        while not moment():
            if self._process.poll() is not None:
                raise InputError(f"the job ended before its moment came: {self._end()}")
            if time.monotonic() > give_up:
                raise InputError(f"the moment never came: {self._end()}")
            time.sleep(0.02)

    def _end(self) -> str:
        return self.log.read_text()[-1000 * ENDED :]


class Launcher:
    """The launcher and one cluster's configuration.

    Args:
        folder: for the filled configuration, the token and logs.
        hosts: of the cluster, the head first.
    """

    def __init__(self, folder: Path, hosts: Sequence[Host]) -> None:
        self.folder, self.hosts = folder, hosts
        self.token = folder / "auth_token"
        self.config = folder / "cluster.local.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))
        local = yaml.safe_load(LOCAL.read_text())
        self.config.write_text(yaml.safe_dump(self._filled(local), sort_keys=False))
        self._env = {
            **os.environ,
            "RAY_UP_enable_autoscaler_v2": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(folder),  # what the launcher remembers of its clusters lies there
        }

    def up(self) -> None:
        """Start the cluster, and wait until all hosts have joined."""
        self._ray("up", "--yes", "--no-config-cache", str(self.config))
        self.wait_for(len(self.hosts))

    def down(self) -> None:
        """Stop the cluster."""
        self._ray("down", "--yes", str(self.config))

    def wait_for(self, count: int) -> None:
        """Wait until the cluster has so many living hosts.

        Raises:
            InputError: it has another number of them after two minutes.
        """
        give_up = time.monotonic() + PATIENCE
        while (found := self.living()) != count:
            if time.monotonic() > give_up:
                raise InputError(f"the cluster has {found} hosts instead of {count}")
            time.sleep(1)

    def living(self) -> int:
        """Hosts that the cluster believes to be alive."""
        asks = "import ray; ray.init('auto', logging_level='ERROR', log_to_driver=False); "
        counts = "print(sum(node['Alive'] for node in ray.nodes()))"
        return int(self.hosts[0].run("python", "-c", asks + counts).split()[-1])

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """Address of the dashboard, by the tunnel of ``ray dashboard``."""
        port = free_port()
        command = [RAY, "dashboard", "--no-config-cache", "--port", str(port), str(self.config)]
        with (self.folder / "dashboard.log").open("wb") as log:
            tunnel = subprocess.Popen(
                command, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        try:
            give_up = time.monotonic() + PATIENCE
            address = f"http://127.0.0.1:{port}"
            while status(f"{address}/api/jobs/") == 0:
                if time.monotonic() > give_up or tunnel.poll() is not None:
                    raise InputError(f"no tunnel to the dashboard: {log.name}")
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(tunnel.pid, signal.SIGKILL)
            tunnel.wait()

    def submit(self, address: str, *command: str) -> Job:
        """Submit a job: ``ray job submit --working-dir . -- COMMAND``."""
        log = self.folder / f"{Path(command[1]).stem}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [RAY, "job", "submit", "--address", address, "--working-dir", ".", "--", *command],
                cwd=ROOT,
                env=self._env,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return Job(process, log)

    def _filled(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration, with what a person edits, and the hosts' environment as it is."""
        head, *workers = (host.address for host in self.hosts)
        config["provider"] |= {"head_ip": head, "worker_ips": workers}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.hosts[0].key)}
        config["min_workers"] = config["max_workers"] = len(workers)
        config["file_mounts"] = {"~/.ray/auth_token": str(self.token)}
        config["setup_commands"] = config["setup_commands"][-1:]  # the others install
        for name in STARTS:
            config[name] = [line.replace("ray start", f"{QUICK} {SMALL}") for line in config[name]]
        return config

    def _ray(self, *argv: str) -> None:
        done = subprocess.run(
            [RAY, *argv],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise InputError(f"{shlex.join(['ray', *argv])}: {done.stdout[-1000 * ENDED :]}")


def status(url: str, token: str | None = None) -> int:
    """HTTP status of a page; 0 where nobody answers."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - likewise
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return 0


def free_port() -> int:
    """A port of this machine's loopback that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
