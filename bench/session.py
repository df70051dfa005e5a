"""A Spark of this machine for benches, as every job has it; what it held, and lines to print."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

SETTINGS = Path(__file__).resolve().parents[1] / "spark.conf"


def spark_here(name: str, cores: int, **settings: str) -> SparkSession:
    """A session of one process on so many cores of this machine.

    Args:
        name: of the application.
        cores: tasks at a time.
        settings: of Spark, which win over those of the repository.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    lines = SETTINGS.read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    builder = SparkSession.builder.master(f"local[{cores}]").appName(name)
    for setting, value in (dict(pairs) | settings).items():
        builder = builder.config(setting, value)
    return builder.getOrCreate()


def said(**line: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)


def peaks() -> dict[str, int]:
    """The most memory that was resident so far, in MB: of the driver, and of a worker of Python.

    The driver is this process and its JVM, whose children's children the workers are (Linux).
    """
    (jvm,) = children(os.getpid())
    workers = [worker for daemon in children(jvm) for worker in (daemon, *children(daemon))]
    driver = _peak(os.getpid()) + _peak(jvm)
    return {"driver_mb": driver, "worker_mb": max(map(_peak, workers), default=0)}


def children(process: int) -> list[int]:
    """Of a process, by their ids."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _peak(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
