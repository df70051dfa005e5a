import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.whole
def test_indexes_are_measured_beside_exact_search():
    flags = ["--rows", "3000", "--kinds", "flat,ivf_flat,ivf_pq,hnsw", "--queries", "100"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/export.py"), *flags],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    looks, *lines = map(json.loads, done.stdout.splitlines())
    assert looks["looked_at"] == 3_000
    assert looks["cosine"]["1"] > looks["cosine"]["10"] > looks["cosine"]["100"]
    assert [line["kind"] for line in lines] == ["flat", "ivf_flat", "ivf_pq", "hnsw"]
    assert lines[0]["recall"] == {"10": 1.0, "100": 1.0}
    for line in lines:
        assert line["recall"]["10"] > 0.85
        assert line["exact_per_second"] > 0
        assert line["index_mb"] > 0
        assert line["threads"] == 1
