import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_speed_and_memory_of_training_are_measured_beside_a_plain_loop():
    flags = ["--users", "600", "--items", "50", "--repeats", "1", "--epochs", "2"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/training.py"), *flags],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    app, plain = map(json.loads, done.stdout.splitlines())
    assert (app["loop"], plain["loop"]) == ("app", "plain")
    for line in (app, plain):
        assert line["users"] == 600
        assert line["users_per_second"] > 0
        assert line["worker_mb"] > 50
        assert line["threads"] == 1
    assert 0 <= app["waiting"] < 1
