"""The items table: what anybody may see of the catalogue."""

from functools import lru_cache

import numpy as np
import pyarrow as pa

from simulate.catalogue import Catalogue, catalogue
from simulate.config import DAY, Simulation
from simulate.genres import AUDIO_FEATURES, GENRES, MUSIC
from simulate.places import LANGUAGES
from simulate.sampling import Floats, Ints, Stream, generator
from simulate.words import NAMES, creator_name, episode_text, track_title

SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "kind": pa.string(),
        "title": pa.string(),
        "creator_id": pa.string(),
        "creator_name": pa.string(),
        "genres": pa.list_(pa.string()),
        "language": pa.string(),
        "released_on": pa.date32(),
        "duration_ms": pa.int64(),
        "audio_features": pa.list_(pa.float32()),
        "description": pa.string(),
    }
)

# Scatter around the genre's mean, and the bounds of Spotify's scales, as AUDIO_FEATURES.
CREATOR_SCATTER = np.array([0.06, 0.07, 1.5, 0.03, 0.08, 0.07, 0.03, 0.08, 7.0])
TRACK_SCATTER = np.array([0.06, 0.07, 1.5, 0.03, 0.08, 0.07, 0.06, 0.10, 9.0])
LOWEST = np.array([0, 0, -60, 0, 0, 0, 0, 0, 40.0])
HIGHEST = np.array([1, 1, 0, 1, 1, 1, 1, 1, 220.0])


def item_batch(simulation: Simulation, items: Ints) -> pa.RecordBatch:
    """Write rows of the items table.

    Args:
        simulation: what to simulate.
        items: (B,) int64, indices below `simulation.item_count`, in any order.

    Returns:
        B rows of `SCHEMA`.
    """
    shelf = catalogue(simulation)
    rows = [_row(simulation, shelf, int(item)) for item in items]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


@lru_cache(maxsize=2)
def item_ids(simulation: Simulation) -> pa.Array:
    """Name every item: (N,) strings, 't…' for tracks and 'e…' for episodes."""
    shelf = catalogue(simulation)
    is_track = shelf.genre[shelf.creator] < len(MUSIC)
    return pa.array([f"{'t' if track else 'e'}{i:06d}" for i, track in enumerate(is_track)])


def creator_id(creator: int) -> str:
    """Name a creator by its index."""
    return f"c{creator:05d}"


def _row(simulation: Simulation, shelf: Catalogue, item: int) -> dict[str, object]:
    rng = generator(simulation.seed, Stream.TEXT, item)
    creator = int(shelf.creator[item])
    genre, second = int(shelf.genre[creator]), int(shelf.second_genre[creator])
    name = creator_name(int(_name_numbers(simulation)[creator]))
    row: dict[str, object] = {
        "item_id": item_ids(simulation)[item].as_py(),
        "creator_id": creator_id(creator),
        "creator_name": name,
        "genres": [GENRES[each].name for each in (genre, second) if each >= 0],
        "language": LANGUAGES[shelf.language[creator]],
        "released_on": int(shelf.released_us[item] // DAY),
        "duration_ms": int(shelf.duration_ms[item]),
    }
    if genre < len(MUSIC):
        sound = _sound(rng, genre, _creator_sounds(simulation)[creator])
        return row | {"kind": "track", "title": track_title(rng), "audio_features": sound}
    title, text = episode_text(rng, name, GENRES[genre].name, GENRES[genre].topics)
    return row | {"kind": "episode", "title": title, "description": text}


def _sound(rng: np.random.Generator, genre: int, creator: Floats) -> Floats:
    """Draw (9,) audio features near those of the genre and the creator."""
    scatter = TRACK_SCATTER * rng.standard_normal(len(AUDIO_FEATURES))
    return np.clip(np.array(GENRES[genre].sound) + creator + scatter, LOWEST, HIGHEST)


@lru_cache(maxsize=2)
def _creator_sounds(simulation: Simulation) -> Floats:
    """How each creator's sound differs from the genre's, (C, 9); scenes sound alike."""
    shelf = catalogue(simulation)
    rng = generator(simulation.seed, Stream.TEXT, simulation.item_count)
    scenes = rng.standard_normal((len(GENRES), shelf.scene.max() + 1, len(AUDIO_FEATURES)))
    own = rng.standard_normal((len(shelf.genre), len(AUDIO_FEATURES)))
    return CREATOR_SCATTER * (scenes[shelf.genre, shelf.scene] + own)


@lru_cache(maxsize=2)
def _name_numbers(simulation: Simulation) -> Ints:
    """Deal out the invented names, (C,): no two creators share one."""
    rng = generator(simulation.seed, Stream.TEXT, simulation.item_count + 1)
    creators = len(catalogue(simulation).genre)
    rounds = -(-creators // NAMES)
    return np.concatenate([again * NAMES + rng.permutation(NAMES) for again in range(rounds)])
