"""What every test may ask for: a lakehouse, the real data, and one Spark and one Ray per run."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from lakehouse.storage import Lakehouse

ROOT = Path(__file__).resolve().parent.parent
FOR_TESTS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    # Half of the time to compile is more than what better code gives back in a minute.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}

settings.register_profile("tests", deadline=None, database=None, derandomize=True)
settings.load_profile("tests")


def spark_conf() -> dict[str, str]:
    """The settings that spark-submit gives every job, and what makes tests quick."""
    lines = (ROOT / "spark.conf").read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return dict(pairs) | FOR_TESTS


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The one Spark session of the run."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.appName("tests")
    for name, value in spark_conf().items():
        builder = builder.config(name, value)
    session = builder.config("spark.local.dir", str(tmp_path_factory.mktemp("spark"))).getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def shared_session(spark):
    """Let the ``main`` of a job run in this process, on the one session, and leave it open.

    Call it with the job's name: ``shared_session("ingest")``.
    """

    @contextmanager
    def held(_name):
        try:
            yield spark
        finally:
            spark.catalog.clearCache()

    with pytest.MonkeyPatch.context() as patch:
        yield lambda job: patch.setattr(f"jobs.{job}.spark_session", held)


@pytest.fixture(scope="session")
def ray_cluster():
    """The one Ray cluster of the run."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def lake(tmp_path) -> Lakehouse:
    return Lakehouse(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def shared_data():
    """The folder of a real data set by its name; the test is skipped where it is not there."""
    above = Path(os.environ.get("TASTEPRINT_SHARED_DATA", ROOT.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        found = above / name
        if not found.is_dir():
            pytest.skip(f"the data set {name} is not in {above} (set TASTEPRINT_SHARED_DATA)")
        return found

    return folder
