"""A Spark of this machine for benches, with the settings that every job has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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
