"""The programs of the bench of user features agree, at a size that takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--events", "20000", "--users", "300", "--items", "500", "--repeats", "1"]
AGREE = 1e-4

pytestmark = [pytest.mark.whole, pytest.mark.spark, pytest.mark.timeout(600)]


def lines(folder: Path, *argv: str) -> list[dict]:
    """What the bench prints, in a process of its own: it starts a Spark of its own."""
    command = [sys.executable, str(ROOT / "bench" / "features.py"), "--folder", str(folder)]
    ended = subprocess.run(
        [*command, "--memory", "1g", "--buckets", "3", *SMALL, *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_all_programs_give_the_same_numbers_of_the_same_users(tmp_path):
    said = lines(tmp_path)
    took = {line["program"] for line in said if "seconds" in line}
    assert took == {"ours", "by hand", "DuckDB reads", "DuckDB SQL and SciPy"}
    apart = {line["program"]: line["apart"] for line in said if "apart" in line}
    assert set(apart) == took - {"ours"}
    assert max(apart.values()) < AGREE
    assert [line["tasks"] for line in said if "stage" in line][-1] == 3


def test_growth_is_said_by_size_with_the_memory_of_the_driver(tmp_path):
    said = [line for line in lines(tmp_path, "--sizes", "0.01,0.02") if "program" in line]
    assert [line["events"] for line in said] == [10_000, 20_000]
    assert all(line["driver_mb"] > 0 and line["heap"] == "1g" for line in said)
