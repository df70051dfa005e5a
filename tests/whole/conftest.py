import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 300  # seconds for a run on a busy machine
MARK = "TASTEPRINT_TEST_RUN"
SPARK_SUBMIT = [
    str(BIN / "spark-submit"),
    *("--properties-file", "spark.conf"),
    *("--driver-memory", "1g"),
    *("--driver-java-options", "-XX:TieredStopAtLevel=1"),
    *("--conf", "spark.sql.shuffle.partitions=1"),
]


class Runs:
    """Starts entry points as an operator does, and kills what it started and nothing else.

    Every process inherits a mark in its environment, by which Spark's and Ray's daemons are found
    though they make sessions of their own or lose their parents.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "runs.log"
        self._mark = f"{MARK}={uuid.uuid4().hex}"

    def start(self, script: str, *argv: str) -> subprocess.Popen:
        launcher = SPARK_SUBMIT if script.startswith("jobs/") else [sys.executable]
        name, value = self._mark.split("=")
        return subprocess.Popen(
            [*launcher, script, *argv],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "PYSPARK_PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
                "SPARK_LOCAL_DIRS": str(self._folder / "spark"),
                name: value,
            },
            stdout=self._log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def finish(self, script: str, *argv: str) -> None:
        """Run to the end."""
        job = self.start(script, *argv)
        try:
            assert job.wait(PATIENCE) == 0, self._said()
        finally:
            self._kill(job)

    def kill_when(self, moment: Callable[[], bool], script: str, *argv: str) -> None:
        """Start, and kill every process of it as soon as the disk shows the moment."""
        job = self.start(script, *argv)
        give_up = time.monotonic() + PATIENCE
        try:
            while not moment():
                assert job.poll() is None, f"it ended before the moment came: {self._said()}"
                assert time.monotonic() < give_up, f"the moment never came: {self._said()}"
                time.sleep(0.002)
        finally:
            self._kill(job)
        assert job.returncode == -signal.SIGKILL
        assert self.alive() == []

    def alive(self) -> list[int]:
        """Processes that this object started, directly or not, and that still run."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                ours = self._mark.encode() in (place / "environ").read_bytes()
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if ours and state != "Z":
                found.append(int(place.name))
        return found

    def _kill(self, job: subprocess.Popen) -> None:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        give_up = time.monotonic() + 30
        while (left := self.alive()) and time.monotonic() < give_up:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    def _said(self) -> str:
        return self._log.read_text()[-4000:]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))
