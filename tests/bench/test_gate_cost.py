import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_the_cost_of_a_gate_is_measured_beside_its_job(tmp_path):
    flags = ["--folder", str(tmp_path), "--rows", "2000", "--repeats", "1", "--jobs", "embed"]
    script = str(ROOT / "bench/gate_cost.py")
    done = subprocess.run(
        [sys.executable, script, *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (tmp_path / "log").read_text()
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["rows"] == 2_000
    assert 0 < line["gates_s"] < line["job_s"]
