"""A small lakehouse with a live batch, for benches of the service, and what to ask of any batch.

People and tracks are made up: vectors around some tastes, plays of the tracks of a taste, and a
model that was never trained. It takes as long to answer as one that was.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from serve_load import NUMBER, Ask

from models.checkpoint import save_codebook, save_model
from models.codebook import fit_codebook
from models.features import unit
from models.layout import VECTOR_SIZE, build_layout
from schemas.arrow import list_column
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
TASTES, TRACKS, PLAYS = 20, 2_000, 50
NOISE = 0.5


def make_live_batch(lake: Lakehouse, users: int) -> Batch:
    """Fill an empty lakehouse with so many people, and promote a batch of them."""
    from models.user_model import UserModel, UserModelConfig

    rng = np.random.default_rng(0)
    parents = _add_inputs(lake, users, rng)
    batch_id = lake.batches.open(AS_OF, parents, "bench", "bench").batch_id
    tracks, people = _vectors(TRACKS, rng), _vectors(users, rng)
    versions = {
        "track_vectors": _add(lake, "track_vectors", _track_vectors(batch_id, tracks)),
        "user_embeddings": _add(lake, "user_embeddings", _user_embeddings(batch_id, people)),
    }
    layout, uri = build_layout({}), lake.model_uri(batch_id)
    digest = save_model(UserModel(UserModelConfig(layout=layout)), uri)
    save_codebook(fit_codebook(tracks, np.full(TRACKS, users), seed=0), uri)
    changes = {"layout": layout.model_dump_json(), "model_uri": uri, "model_sha256": digest}
    lake.batches.record(batch_id, tables=versions, state="candidate", **changes)
    return lake.batches.promote(batch_id)


def _vectors(count: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors, each near the taste of its number, (count, VECTOR_SIZE) float32."""
    tastes = np.random.default_rng(1).standard_normal((TASTES, VECTOR_SIZE))
    noise = NOISE * rng.standard_normal((count, VECTOR_SIZE))
    return unit((tastes[np.arange(count) % TASTES] + noise).astype(np.float32))


def _add_inputs(lake: Lakehouse, users: int, rng: np.random.Generator) -> dict[str, int]:
    items = {"item_id": [f"track-{n:05d}" for n in range(TRACKS)], "kind": ["track"] * TRACKS}
    owner = np.repeat(np.arange(users), PLAYS)
    track = owner % TASTES + TASTES * rng.integers(0, TRACKS // TASTES, len(owner))
    hours = rng.integers(1, 24 * 180, len(owner)).tolist()
    played = [AS_OF - timedelta(hours=hour) for hour in hours]
    listens = {
        "event_id": [f"before-{n}" for n in range(len(owner))],
        "user_id": [f"user-{n:06d}" for n in owner],
        "item_id": [f"track-{n:05d}" for n in track],
        "item_kind": ["track"] * len(owner),
        "played_at": played,
        "ingested_at": played,
    }
    return {"items": _add(lake, "items", items), "listens": _add(lake, "listens", listens)}


def _track_vectors(batch_id: str, vectors: np.ndarray) -> dict[str, object]:
    return {
        "batch_id": [batch_id] * len(vectors),
        "item_id": [f"track-{n:05d}" for n in range(len(vectors))],
        "vector": list_column(vectors),
        "support": [PLAYS] * len(vectors),
        "source": ["co-occurrence"] * len(vectors),
    }


def _user_embeddings(batch_id: str, vectors: np.ndarray) -> dict[str, object]:
    from models.user_model import SIZE

    count = len(vectors)
    wide = np.zeros((count, SIZE), np.float32)
    wide[:, :VECTOR_SIZE] = vectors
    return {
        "batch_id": [batch_id] * count,
        "user_id": [f"user-{n:06d}" for n in range(count)],
        "bucket": [0] * count,
        "as_of": [AS_OF] * count,
        "embedding": list_column(wide),
        "source": ["batch"] * count,
        "status": ["established"] * count,
        "fingerprint": [0] * count,
    }


def _add(lake: Lakehouse, table: str, columns: dict[str, object]) -> int:
    """Append rows, with nulls in columns that are not given; returns the table's version."""
    schema = contract(table).arrow_schema
    count = len(next(iter(columns.values())))
    every = {name: columns.get(name, [None] * count) for name in schema.names}
    lake.append(table, pa.Table.from_pydict(every, schema=schema))
    return lake.open(table).version()


def some_of(lake: Lakehouse, batch: Batch, table: str, column: str, most: int) -> list[str]:
    """Ids of a batch's table, at most so many, evenly from all of it."""
    ids = lake.read(table, batch, [column])[column].to_pylist()
    return ids[:: -(-len(ids) // most)]


def plays_of(users: Sequence[str], items: Sequence[str]) -> list[Ask]:
    """A request for each user with one play of now, of one item after the other."""
    return [
        Ask("POST", "/v1/events", play(user_id, items[number % len(items)], f"{NUMBER}"))
        for number, user_id in enumerate(users)
    ]


def play(user_id: str, item_id: str, event_id: str) -> str:
    """The body of a request that says one play of now."""
    row = {
        "event_id": event_id,
        "user_id": user_id,
        "item_id": item_id,
        "item_kind": "track",
        "played_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ms_played": 180_000,
    }
    return json.dumps({"listens": [row]})


def reads_of(users: Sequence[str], accept: str) -> list[Ask]:
    """A request for the vector of each user."""
    return [
        Ask("GET", f"/v1/users/{quote(user_id, safe='')}/embedding", accept=accept)
        for user_id in users
    ]
