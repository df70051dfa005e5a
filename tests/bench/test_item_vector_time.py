import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.whole
def test_every_program_is_timed_over_the_same_plays(tmp_path):
    pytest.importorskip("gensim")
    pytest.importorskip("implicit")
    flags = ["--folder", str(tmp_path / "plays"), "--sizes", "0.02", "--repeats", "1", "--hottest"]
    script = str(ROOT / "bench/item_vector_time.py")
    done = subprocess.run(
        [sys.executable, script, *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    took = {line["program"]: line["seconds"] for line in lines if "program" in line}
    assert set(took) == {"ours", "als", "gensim"}
    assert all(seconds > 0 for seconds in took.values())
    assert {line["plays"] for line in lines if "program" in line} == {20_000}
    assert all(line["slowest_ms"] >= line["median_ms"] for line in lines if "stage" in line)
    assert any("stage" in line for line in lines)
