"""The kills themselves: a worker, a node and a driver, each once; docs/benchmarks.md has more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
SMALL = ["--kills", "1", "--users", "8000", "--bucket", "500", "--apart", "0.5"]


@pytest.mark.whole
@pytest.mark.ray
@pytest.mark.parametrize("kind", ["worker", "node", "driver"])
def test_after_a_kill_everyone_has_one_vector_and_little_was_wasted(kind):
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/embed_kills.py"), "--kinds", kind, *SMALL],
        cwd=ROOT,
        env=PLACES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (line,) = (json.loads(one) for one in done.stdout.splitlines() if one.startswith("{"))
    assert (line["kind"], line["kills"], line["vectors"]) == (kind, 1, 8000)
    assert line["exactly_once"]
    assert line["wasted_buckets_per_kill"] <= 2
    assert line["begun"] - line["in_vain"] == 16 + line["ended_twice"]
