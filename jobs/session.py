"""The Spark session of a job."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from schemas.errors import InputError, entry_point
from schemas.stores import DELTA_PACKAGE, HADOOP_AWS, S3A, is_s3, spark_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

DELTA = "io.delta.sql.DeltaSparkSessionExtension"


@contextmanager
def spark_session(name: str, lakehouse: str = "") -> Iterator[SparkSession]:
    """Open the session that ``spark-submit --properties-file spark.conf`` describes.

    Every setting is the submitter's; a job sets only its name, and where the S3 store is.

    Args:
        name: of the job.
        lakehouse: URI that it will read and write.

    Raises:
        InputError: the session knows no Delta tables, or cannot read the lakehouse.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    for setting, value in spark_settings().items():
        builder = builder.config(setting, value)
    spark = builder.getOrCreate()
    try:
        if DELTA not in (spark.conf.get("spark.sql.extensions", "") or ""):
            raise InputError(
                "Spark was started without Delta: "
                f"use spark-submit --properties-file spark.conf jobs/{name}.py"
            )
        if is_s3(lakehouse) and not _has_class(spark, S3A):
            raise InputError(
                f"Spark was started without what reads {lakehouse}: "
                f"add --packages {DELTA_PACKAGE},{HADOOP_AWS} (642 MB, fetched once)"
            )
        yield spark
    finally:
        spark.stop()


def _has_class(spark: SparkSession, name: str) -> bool:
    java: Any = spark._jvm  # noqa: SLF001 - the one way to Java
    return bool(java.org.apache.spark.util.Utils.classIsLoadable(name))


@entry_point
def main() -> None:
    """Open a session and close it: fetches the Delta JAR, and shows that Spark works."""
    with spark_session("session") as spark:
        print(f"Spark {spark.version} with Delta is ready")  # noqa: T201


if __name__ == "__main__":
    main()
