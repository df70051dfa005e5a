"""A Spark of this machine for benches, as every job has it; what it held, and lines to print."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Path(__file__).resolve().parents[1] / "spark.conf"


def spark_here(name: str, cores: int, folder: Path | None = None, **settings: str) -> SparkSession:
    """A session of one process on so many cores of this machine.

    Args:
        name: of the application.
        cores: tasks at a time.
        folder: where it spills, and logs its stages in ``log/ID of the application``.
        settings: of Spark, which win over those of the repository.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    lines = SETTINGS.read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    builder = SparkSession.builder.master(f"local[{cores}]").appName(name)
    if folder is not None:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        pairs += [
            ["spark.local.dir", str(folder / "spark")],
            ["spark.eventLog.enabled", "true"],
            ["spark.eventLog.compress", "false"],
            ["spark.eventLog.rolling.enabled", "false"],
            ["spark.eventLog.dir", str(folder / "log")],
        ]
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
    driver = peak(os.getpid()) + peak(jvm)
    return {"driver_mb": driver, "worker_mb": max(map(peak, workers), default=0)}


def children(process: int) -> list[int]:
    """Of a process, by their ids; none of one that has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    return []


def peak(process: int) -> int:
    """The most memory that was resident, in MB; 0 of one that has ended, which nobody can tell."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        held = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        return max(held, default=0) // 1024
    return 0


def stages_of(log: Path, without: int = 0) -> Iterator[dict[str, Any]]:
    """Of each stage of each run, how long its tasks took, and what they spilled to disk.

    Args:
        log: Spark's, of the application.
        without: so many runs at the beginning.
    """
    stages: dict[str, list[int]] = {}
    tasks: dict[int, list[dict[str, Any]]] = {}
    for event in map(json.loads, log.open()):
        if event["Event"] == "SparkListenerJobStart":
            run = event["Properties"].get("spark.sql.execution.id", "")
            stages.setdefault(run, []).extend(event["Stage IDs"])
        if event["Event"] == "SparkListenerTaskEnd":
            tasks.setdefault(event["Stage ID"], []).append(event["Task Metrics"])
    for run, own in enumerate([*stages.values()][without:]):
        for stage in sorted(tasks.keys() & own):
            yield {"run": run, "stage": stage, **_told(tasks[stage])}


def _told(tasks: list[dict[str, Any]]) -> dict[str, float]:
    took = sorted(task["Executor Run Time"] for task in tasks)
    median = took[len(took) // 2]
    return {
        "tasks": len(took),
        "median_ms": median,
        "slowest_ms": took[-1],
        "ratio": round(took[-1] / max(median, 1), 2),
        "shuffled_mb": sum(t["Shuffle Write Metrics"]["Shuffle Bytes Written"] for t in tasks)
        // 2**20,
        "spilled_mb": sum(t["Disk Bytes Spilled"] for t in tasks) // 2**20,
    }
