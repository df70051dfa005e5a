import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}


def lines(*flags: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/batch_embed.py"), *flags],
        cwd=ROOT,
        env=PLACES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.whole
def test_the_app_is_measured_beside_loops_over_the_same_files():
    some = ["--users", "3000", "--distinct", "1000", "--bucket", "500", "--hidden", "16"]
    found = lines(*some, "--hidden", "8", "--repeats", "1", "--drop")
    assert [line["peer"] for line in found] == ["threads", "processes", "app defaults", "app"]
    for line in found:
        assert (line["users"], line["hidden"]) == (3000, [16, 8])
        assert line["users_per_second"] > 0
        assert line["core_seconds_per_million"] > 0
        assert line["worker_mb"] > 50


@pytest.mark.whole
def test_parts_are_measured_alone():
    found = lines("--limits", "--users", "1000", "--bucket", "500")
    assert [line["part"] for line in found] == [
        "reading defaults",
        "reading ours",
        "embedding float32",
        "embedding bfloat16",
        "products of matrices by MKL",
        "products of matrices by oneDNN",
        "writing defaults",
        "writing ours",
    ]
    assert all(line["core_seconds_per_million"] > 0 for line in found)
