r"""Feast with vectors in a Redis; runs in an environment of its own, for its pins are not ours.

::

    uv venv DIR && uv pip install --python DIR/bin/python 'feast[redis]'
    DIR/bin/python bench/feast_peer.py make REPOSITORY --redis HOST:PORT --vectors FILE
    DIR/bin/python bench/feast_peer.py read REPOSITORY --seconds 5 --users 1 --users 100

``make`` writes the rows of a Parquet file, ``user_id`` and ``embedding``, to the online store.
``read`` reads those of so many users at once, again and again, and prints a line of JSON for each
number of users. Time is that of ``get_online_features``, without making lists of its answer.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

VIEW, COLUMN = "vectors", "embedding"
SETTINGS = """project: bench
registry: registry.db
provider: local
online_store:
  type: redis
  connection_string: {redis}
offline_store:
  type: file
entity_key_serialization_version: 3
"""


def make(repository: Path, redis: str, vectors: Path) -> None:
    """Say what a vector is, and write all of them to the online store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32

    (repository / "feature_store.yaml").write_text(SETTINGS.format(redis=redis))
    rows = pd.read_parquet(vectors).assign(at=datetime.now(UTC))
    kept = repository / "rows.parquet"
    rows.to_parquet(kept)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name=VIEW,
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name=COLUMN, dtype=Array(Float32))],
        source=FileSource(path=str(kept), timestamp_field="at"),
    )
    store = FeatureStore(repo_path=str(repository))
    store.apply([user, view])
    store.write_to_online_store(VIEW, rows)


def read(repository: Path, seconds: float, users: int) -> dict[str, float]:
    """Read the vectors of so many users at once for so many seconds."""
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    ids = pd.read_parquet(repository / "rows.parquet", columns=["user_id"])["user_id"].tolist()
    took, first = [], 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        asked = [{"user_id": ids[(first + n) % len(ids)]} for n in range(users)]
        began = time.perf_counter()
        answer = store.get_online_features(features=[f"{VIEW}:{COLUMN}"], entity_rows=asked)
        took.append(time.perf_counter() - began)
        first += users
    if any(not vector for vector in answer.to_dict()[COLUMN]):
        raise RuntimeError(f"Feast has no vector of some of {asked[:3]}")
    return {
        "users": users,
        "p50_ms": round(float(np.quantile(took, 0.5)) * 1e3, 3),
        "p99_ms": round(float(np.quantile(took, 0.99)) * 1e3, 3),
        "users_per_second": round(users * len(took) / sum(took)),
    }


def main() -> None:
    """Make a store, or read from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "read"])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--redis", help="host and port")
    parser.add_argument("--vectors", type=Path, help="file of rows")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--users", type=int, action="append", help="read at once")
    args = parser.parse_args()
    if args.what == "make":
        make(args.repository, args.redis, args.vectors)
        return
    for users in args.users:
        print(json.dumps(read(args.repository, args.seconds, users)), flush=True)


if __name__ == "__main__":
    main()
