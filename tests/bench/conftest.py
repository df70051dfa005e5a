"""Benches are run as people run them: in processes of their own, a line of JSON for each figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}


@pytest.fixture
def bench():
    """A function that runs a script of ``bench/`` without this process's Ray; gives its lines."""

    def run(name: str, *flags: str) -> list[dict]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "bench" / name), *flags],
            cwd=ROOT,
            env=PLACES,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run
