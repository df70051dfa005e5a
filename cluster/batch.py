"""A small batch whose features are built, made without Spark: who likes an item plays the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from models.checkpoint import save_codebook
from models.codebook import fit_codebook
from models.features import unit
from models.fingerprint import fingerprints
from models.layout import VECTOR_SIZE, build_layout
from schemas.arrow import list_column, matrix
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
LAYOUT = build_layout({"surface": ["home"], "country": ["DE", "SE"]})
ITEMS, FOLDS, TASTES = 20, 5, ("taste_7d", "taste_180d")


def made(lake: Lakehouse, users: int, buckets: int) -> Batch:
    """A batch that is ready to be trained and embedded.

    Args:
        lake: where; it is filled.
        users: how many.
        buckets: over how many they are spread.
    """
    rng = np.random.default_rng(7)
    vectors = unit(rng.standard_normal((ITEMS, VECTOR_SIZE)).astype(np.float32))
    batch_id = lake.batches.open(AS_OF, {}, "", "0").batch_id
    save_codebook(fit_codebook(vectors, np.full(ITEMS, 3), seed=0), lake.model_uri(batch_id))
    tables = {}
    for table, columns in _tables(vectors, np.arange(users), buckets):
        count = len(next(iter(columns.values())))
        rows = pa.table({"batch_id": [batch_id] * count, **columns})
        lake.append(table, rows.select(contract(table).column_names))
        tables[table] = lake.open(table).version()
    lake.batches.record(batch_id, tables=tables, layout=LAYOUT.model_dump_json())
    return lake.batches.get(batch_id)


def _tables(
    vectors: np.ndarray, users: np.ndarray, buckets: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "track_vectors", _tracks(vectors, 1)
    folds = np.repeat(np.arange(FOLDS), ITEMS)
    yield "training_vectors", _tracks(vectors, FOLDS) | {"fold": pa.array(folds, pa.int32())}
    known = _users(vectors, users, buckets)
    nothing: list[list[float]] = [[]] * len(users)
    sums = fingerprints(matrix(known["features"]), matrix(known["present"]))
    since = {"played_between": nothing, "decayed_plays": nothing, "fingerprint": sums}
    yield "user_features", known | since
    yield (
        "training_examples",
        known
        | {
            "as_of": [AS_OF - timedelta(days=9)] * len(users),
            "validation": (users + users // ITEMS) % 10 == 0,
            "fold": pa.array(users % FOLDS, pa.int32()),
            "weight": pa.array(np.ones(len(users)), pa.float32()),
            "targets": [[f"t{(user + 1) % ITEMS}"] for user in users],
        },
    )


def _tracks(vectors: np.ndarray, times: int) -> dict[str, Any]:
    count = ITEMS * times
    return {
        "item_id": [f"t{item}" for item in range(ITEMS)] * times,
        "vector": list_column(np.tile(vectors, (times, 1))),
        "support": [3] * count,
        "source": ["blend"] * count,
    }


def _users(vectors: np.ndarray, users: np.ndarray, buckets: int) -> dict[str, Any]:
    features = np.zeros((len(users), LAYOUT.width), np.float32)
    present = np.zeros((len(users), len(LAYOUT.groups)), np.float32)
    for taste in TASTES:
        features[:, LAYOUT[taste].slice] = vectors[users % ITEMS]
        present[:, LAYOUT.names.index(taste)] = 1
    return {
        "user_id": [f"u{user}" for user in users],
        "bucket": pa.array(users % buckets, pa.int32()),
        "as_of": [AS_OF] * len(users),
        "features": list_column(features),
        "present": list_column(present),
    }
