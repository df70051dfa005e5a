import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.whole


@pytest.fixture
def data(tmp_path) -> Path:
    """Twelve hundred plays of users who each keep to one of two camps of items."""
    rng = np.random.default_rng(0)
    users, plays = 60, 20
    user = np.repeat(np.arange(users), plays)
    track = rng.integers(0, 30, users * plays) + 30 * (user % 2)
    folder = tmp_path / "thirtymusic_histories"
    folder.mkdir()
    rows = {"user_id": user, "position": np.tile(np.arange(plays), users), "track_id": track}
    pq.write_table(pa.table(rows), folder / "listens.parquet")
    tracks = {"track_id": np.arange(60), "artist_id": np.arange(60) // 10}
    pq.write_table(pa.table(tracks), folder / "tracks.parquet")
    return tmp_path


def test_every_peer_finds_the_camp_and_an_absent_set_is_skipped(data):
    pytest.importorskip("gensim")
    pytest.importorskip("implicit")
    done = subprocess.run(
        [sys.executable, "bench/item_vectors.py", "--data", str(data), "--repeats", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    scores = {line["peer"]: line["hit@10"] for line in lines if "hit@10" in line}
    assert set(scores) == {"popularity", "ppmi", "als", "gensim", "ours"}
    assert scores["ours"] > 0.5
    assert [line["data"] for line in lines if "skipped" in line] == ["aotm_playlists"]
