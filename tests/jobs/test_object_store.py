"""Spark over a lakehouse in an S3 store: two drivers and delta-rs commit to the same tables."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.storage import Lakehouse
from schemas.contract import contract
from schemas.stores import DELTA_PACKAGE, HADOOP_AWS
from tasteprint.doctor import IVY
from tasteprint.engines import spark_step

pytestmark = [pytest.mark.spark, pytest.mark.whole, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
SMALL = "--driver-memory 1g --driver-java-options -XX:TieredStopAtLevel=1"
PLAYS = 200
ROOM = 6 * 10**9  # bytes; each driver makes two copies of the 642 MB


@pytest.fixture(scope="module", autouse=True)
def hadoop_aws():
    """What lets Spark read S3, which is fetched for nobody who does not need it."""
    name = HADOOP_AWS.replace(":", "_", 1).replace(":", "-") + ".jar"
    if not any((Path(folder).expanduser() / name).exists() for folder in IVY):
        pytest.skip(
            "hadoop-aws is not fetched (642 MB): spark-submit --properties-file spark.conf "
            f"--packages {DELTA_PACKAGE},{HADOOP_AWS} jobs/session.py"
        )
    if shutil.disk_usage(tempfile.gettempdir()).free < ROOM:
        pytest.skip(f"less than {ROOM / 10**9:g} GB of disk are free for the drivers' JARs")


@pytest.fixture
def delivery(new_shop, good_play, tmp_path, remote_lake):
    """A function that makes a delivery of plays, one of them bad, for the lakehouse on S3.

    Its files lie in a folder, or on S3 as well.
    """

    def make(name: str, first: int, *, in_the_store: bool = False):
        shop = new_shop(tmp_path / name)
        shop.lake = remote_lake
        shop.put("items.csv", [{"sku": f"t{n}", "title": f"Track {n}"} for n in range(3)])
        plays = [good_play(number) for number in range(first, first + PLAYS)]
        shop.put("plays.csv", [*plays, good_play(first + PLAYS, user="")])
        if in_the_store:
            shop.data = f"{remote_lake.uri}-{name}"
            for file in (tmp_path / name / "data").iterdir():
                remote_lake.filesystem.pipe_file(f"{shop.data}/{file.name}", file.read_bytes())
        return shop

    return make


def started(shop) -> subprocess.Popen:
    """An ingest as an operator starts it."""
    command = spark_step("ingest", "ingest", "ingest", shop.argv, SMALL).command
    log = (shop.folder / "log").open("wb")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)


def append_items(uri: str, number: int) -> None:
    """One commit of delta-rs."""
    row = {"item_id": f"other{number}", "kind": "track"}
    rows = pa.Table.from_pylist([row], schema=contract("items").arrow_schema)
    Lakehouse(uri).append("items", rows)


def test_of_two_drivers_and_delta_rs_at_once_nobody_overwrites_another(delivery, remote_lake):
    shops = [delivery("one", 0), delivery("two", PLAYS, in_the_store=True)]
    jobs = [started(shop) for shop in shops]
    others = 0
    while any(job.poll() is None for job in jobs):
        append_items(remote_lake.uri, others)
        others += 1
        time.sleep(2)  # who waits for a lease has no place in a queue
    for job, shop in zip(jobs, shops, strict=True):
        assert job.returncode == 0, (shop.folder / "log").read_text()[-2000:]
    plays = remote_lake.rows("listens")["event_id"].to_pylist()
    assert sorted(plays) == sorted(f"e{number}" for number in range(2 * PLAYS))
    items = {*remote_lake.rows("items")["item_id"].to_pylist()}
    assert items == {"t0", "t1", "t2", *(f"other{number}" for number in range(others))}
    assert others > 3
    assert remote_lake.rows("quarantine").num_rows == 2
    for table in ("items", "listens", "quarantine"):
        log = remote_lake.filesystem.find(f"{remote_lake.table_uri(table)}/_delta_log")
        commits = [name for name in log if name.endswith(".json")]
        assert len(commits) == remote_lake.open(table).version() + 1
