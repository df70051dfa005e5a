"""The Spark session of a job."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from schemas.errors import InputError, entry_point

if TYPE_CHECKING:
    from collections.abc import Iterator

DELTA = "io.delta.sql.DeltaSparkSessionExtension"


@contextmanager
def spark_session(name: str) -> Iterator[SparkSession]:
    """Open the session that ``spark-submit --properties-file spark.conf`` describes.

    Every setting is the submitter's; a job sets only its name.

    Raises:
        InputError: the session knows no Delta tables.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.appName(name).getOrCreate()
    try:
        if DELTA not in (spark.conf.get("spark.sql.extensions", "") or ""):
            raise InputError(
                "Spark was started without Delta: "
                f"use spark-submit --properties-file spark.conf jobs/{name}.py"
            )
        yield spark
    finally:
        spark.stop()


@entry_point
def main() -> None:
    """Open a session and close it: fetches the Delta JAR, and shows that Spark works."""
    with spark_session("session") as spark:
        print(f"Spark {spark.version} with Delta is ready")  # noqa: T201


if __name__ == "__main__":
    main()
