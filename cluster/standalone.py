"""A standalone Spark cluster on hosts, and jobs that are submitted to it from outside."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.hosts import filled
from cluster.net import PRIVATE
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.hosts import Host

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = Path(__file__).with_name("spark-defaults.conf")
PORT = 7077
PATIENCE = 120  # seconds for the master to answer, and for a worker to join
DEPLOY = "org.apache.spark.deploy"
QUICK = "-XX:TieredStopAtLevel=1"  # no time for better code in jobs of seconds
SMALL = (
    *("--driver-memory", "1g", "--executor-memory", "1g", "--driver-java-options", QUICK),
    *("--conf", f"spark.executor.extraJavaOptions={QUICK}"),
    *("--conf", "spark.sql.shuffle.partitions=2"),
)


class Standalone:
    """A master on the first host, and a worker with a core on each other.

    Args:
        folder: for its settings and logs.
        hosts: the master's first.
    """

    def __init__(self, folder: Path, hosts: Sequence[Host]) -> None:
        self.folder, self.hosts = folder, hosts
        self.master = f"spark://{hosts[0].address}:{PORT}"
        self.settings = folder / "conf"
        self.settings.mkdir(parents=True)
        shared = self.settings / DEFAULTS.name
        shared.touch(mode=0o600)
        shared.write_text(filled(DEFAULTS.read_text(), {"CHANGE-ME": secrets.token_hex(32)}))

    def start(self) -> None:
        """Start the master and the workers, and wait until they have found each other."""
        head, *workers = self.hosts
        self._start(head, f"{DEPLOY}.master.Master", "--port", str(PORT))
        self._wait(head, "started service 'sparkMaster'")
        for host in workers:
            there = ("--cores", "1", "--memory", "1g", "--work-dir", str(host.folder / "work"))
            self._start(host, f"{DEPLOY}.worker.Worker", *there, self.master)
        for host in workers:
            self._wait(host, "registered with master")

    def submit(self, *job: str, secret: bool = True) -> None:
        """Run a job on the cluster; its driver is on this machine, in the private net.

        Args:
            job: the job and its flags.
            secret: whether the submitter knows the secret.

        Raises:
            InputError: it failed.
        """
        outside = PRIVATE.address(1)
        where = [f"--conf=spark.driver.{name}={outside}" for name in ("host", "bindAddress")]
        settings = self.settings if secret else None
        flags = ("--load-spark-defaults", "--master", self.master, *where, *SMALL)
        spark_submit(*flags, *job, settings=settings)

    def _start(self, host: Host, role: str, *argv: str) -> None:
        command = shlex.join(
            ["spark-class", role, "--host", host.address, "--webui-port", "0", *argv]
        )
        # The local address is where pages for browsers are served.
        env = f"SPARK_CONF_DIR={self.settings} SPARK_DAEMON_MEMORY=256m SPARK_LOCAL_IP=127.0.0.1"
        host.start(f"env {env} {command}", self._log(host))

    def _log(self, host: Host) -> Path:
        return self.folder / f"{host.name}.log"

    def _wait(self, host: Host, words: str) -> None:
        give_up = time.monotonic() + PATIENCE
        while words.lower() not in self._log(host).read_text().lower():
            if time.monotonic() > give_up:
                raise InputError(
                    f"Spark does not start on {host.name}: {self._log(host).read_text()}"
                )
            time.sleep(0.2)


def spark_submit(*argv: str, settings: Path | None = None) -> None:
    """Run a job as the README does.

    Args:
        argv: more flags, the job, and its flags.
        settings: folder of ``spark-defaults.conf``.

    Raises:
        InputError: it failed.
    """
    submit = Path(sys.executable).with_name("spark-submit")
    own = {} if settings is None else {"SPARK_CONF_DIR": str(settings)}
    done = subprocess.run(
        [submit, "--properties-file", "spark.conf", *argv],
        cwd=ROOT,
        env={**os.environ, **own, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"{shlex.join(map(str, argv))}: {done.stdout[-10_000:]}")
