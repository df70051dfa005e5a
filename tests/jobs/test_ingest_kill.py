"""SIGKILL at the worst moments: no reader sees a part, and the next run brings it to its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLAYS, BAD, ITEMS = 2_000, 20, 300
WHOLE = {"listens": PLAYS, "items": ITEMS, "quarantine": BAD + 1}
PATIENCE = 240  # seconds for a run on a busy machine


@pytest.fixture
def shop(tmp_path, new_shop, good_play):
    """Two thousand good plays, twenty that last less than no time, and an item that repeats."""
    shop = new_shop(tmp_path)
    items = [{"sku": f"t{number}", "title": f"Song {number}"} for number in range(ITEMS)]
    shop.put("items.csv", [*items, items[0]])
    plays = [good_play(number) for number in range(PLAYS)]
    bad = [good_play(PLAYS + number, ms=-1) for number in range(BAD)]
    shop.put("plays1.csv", plays[::2] + bad)
    shop.put("plays2.csv", plays[1::2])
    return shop


def started(shop) -> subprocess.Popen:
    """The job as an operator starts it, at the head of its own process group."""
    local = shop.folder / "spark"
    return subprocess.Popen(
        [
            str(BIN / "spark-submit"),
            *("--properties-file", "spark.conf"),
            *("--driver-memory", "1g"),
            *("--driver-java-options", "-XX:TieredStopAtLevel=1"),
            *("--conf", "spark.sql.shuffle.partitions=1"),
            "jobs/ingest.py",
            *shop.argv,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "SPARK_LOCAL_DIRS": str(local),
        },
        stdout=(shop.folder / "job.log").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def killed_when(shop, appears: str) -> None:
    """Start the job and kill all of it as soon as something lies on the disk."""
    job = started(shop)
    give_up = time.monotonic() + PATIENCE
    try:
        while not list(Path(shop.lake.uri).glob(appears)):
            assert job.poll() is None, (shop.folder / "job.log").read_text()
            assert time.monotonic() < give_up, f"{appears} never appeared"
            time.sleep(0.005)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert job.returncode == -signal.SIGKILL


def seen(shop) -> dict[str, int]:
    return {table: len(shop.rows(table)) for table in WHOLE}


@pytest.mark.whole
@pytest.mark.timeout(900)
def test_killed_at_three_moments_it_shows_no_part_and_ends_with_every_row_once(shop):
    commit = "_delta_log/00000000000000000001.json"
    moments = [f"tables/quarantine/{commit}", "staging/*", f"tables/items/{commit}"]
    for moment in moments:
        killed_when(shop, moment)
        for table, rows in seen(shop).items():
            assert rows in (0, WHOLE[table]), f"{rows} rows of {table} after {moment}"
        assert shop.rows("steps") == []
    assert seen(shop)["quarantine"] == WHOLE["quarantine"]

    job = started(shop)
    assert job.wait(PATIENCE) == 0, (shop.folder / "job.log").read_text()
    assert seen(shop) == WHOLE
    for table, key in [("listens", "event_id"), ("items", "item_id")]:
        assert len({row[key] for row in shop.rows(table)}) == WHOLE[table]
    refused = sorted((row["table"], row["event_id"]) for row in shop.rows("quarantine"))
    assert refused == [("items", "t0"), *(("listens", f"e{PLAYS + n}") for n in range(BAD))]
    assert len(shop.rows("steps")) == 1
    assert not list((shop.folder / "lake" / "staging").glob("*"))
