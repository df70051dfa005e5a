import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
AUDIO = (
    *("danceability", "energy", "loudness", "speechiness", "acousticness"),
    *("instrumentalness", "liveness", "valence", "tempo"),
)
PLAYLISTS, TRACKS, GENRES = 48, 240, 4


@pytest.fixture
def data(tmp_path):
    """Playlists of tracks that sound alike, in the columns of spotify_songs."""
    rng = np.random.default_rng(0)
    genre = np.arange(TRACKS) % GENRES
    audio = rng.standard_normal((GENRES, len(AUDIO)))[genre]
    audio += 0.1 * rng.standard_normal(audio.shape)
    rows = []
    for playlist in range(PLAYLISTS):
        own = np.flatnonzero(genre == playlist % GENRES)
        for track in rng.choice(own, 20, replace=False):
            about = {"track_id": f"t{track:03d}", "track_name": f"song {track}"}
            about |= {"track_artist": f"artist {track // 8}", "track_popularity": track % 100}
            about |= {"playlist_id": f"p{playlist}", "playlist_subgenre": f"g{playlist % GENRES}"}
            rows.append(about | dict(zip(AUDIO, audio[track], strict=True)))
    (tmp_path / "spotify_songs").mkdir()
    pd.DataFrame(rows).to_parquet(tmp_path / "spotify_songs/playlist_tracks.parquet")
    return tmp_path


def lines(data: Path, *flags: str) -> tuple[list[dict], str]:
    script = str(ROOT / "bench/content.py")
    done = subprocess.run(
        [sys.executable, script, "--data", str(data), "--no-text", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_content_finds_hidden_tracks_that_popularity_does_not(data):
    found, said = lines(data)
    among = {line["by"]: line["hit@50 among all"] for line in found}
    assert among["content encoder"] > 2 * among["popularity, as known"]
    assert among["audio alone"] > 2 * among["popularity, as known"]
    assert "skipped hetrec_lastfm" in said


@pytest.mark.parametrize("measured", ["choose", "blend"])
def test_settings_and_priors_are_compared(data, measured):
    found, _ = lines(data, "--tasks", "spotify_songs", "--lines", measured)
    assert len(found) > 5
    assert {line["lines"] for line in found} == {measured}
