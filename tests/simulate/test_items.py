import numpy as np

from simulate.genres import MUSIC
from simulate.items import HIGHEST, LOWEST, SCHEMA, item_batch


def test_rows_are_the_same_whatever_they_are_made_with(simulation):
    together = item_batch(simulation, np.array([3, 900, 901])).to_pylist()
    alone = item_batch(simulation, np.array([901, 3])).to_pylist()
    assert alone == [together[2], together[0]]


def test_rows_are_of_the_schema_and_ids_are_unique(simulation, items):
    assert item_batch(simulation, np.arange(2)).schema == SCHEMA
    assert items.index.is_unique
    assert len(items) == simulation.item_count


def test_tracks_have_sound_and_episodes_have_text(items):
    tracks, episodes = items[items.kind == "track"], items[items.kind == "episode"]
    sound = np.stack(tracks.audio_features)
    assert ((sound >= LOWEST) & (sound <= HIGHEST)).all()
    assert tracks.description.isna().all()
    assert episodes.audio_features.isna().all()
    assert episodes.description.str.len().min() > 40


def test_the_sound_tells_the_genre(items):
    tracks = items[items.kind == "track"]
    energy = tracks.audio_features.str[1].groupby(tracks.genres.str[0]).mean()
    assert energy["metal"] > energy["pop"] > energy["ambient"]
    assert len(energy) == len(MUSIC)
