"""SIGKILL at the worst moments: readers see nothing or all, and the next run ends it well."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs import build_features, build_track_vectors
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.layout import FeatureLayout
from models.user_model import UserModel, UserModelConfig
from ray_apps import batch_embed
from schemas.contract import contract

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1800)]

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS, PLAYS, BUCKETS = 240, 60, 20, 16
SILENT = 12  # users who have never played anything
FIRST_COMMIT = "_delta_log/00000000000000000000.json"  # makes the table
DATA_COMMIT = "_delta_log/00000000000000000001.json"


def listens() -> list[dict]:
    """Every user plays the items of one creator more than others, one play after another."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(USERS - SILENT):
        at = AS_OF - timedelta(days=40, minutes=int(rng.integers(0, 600)))
        for number in range(PLAYS):
            own = 10 * (user % 6) + int(rng.integers(0, 10))
            item = own if rng.random() < 0.8 else int(rng.integers(0, ITEMS))
            at += timedelta(minutes=int(rng.choice([4, 1_440])))
            rows.append(
                {
                    "event_id": f"e{user}-{number}",
                    "user_id": f"u{user:03d}",
                    "item_id": f"t{item:02d}",
                    "item_kind": "track",
                    "played_at": at,
                    "ms_played": 60_000,
                    "surface": "home",
                    "ingested_at": at,
                }
            )
    return rows


def inputs() -> dict[str, list[dict]]:
    items = [
        {
            "item_id": f"t{item:02d}",
            "kind": "track",
            "creator_id": f"c{item // 10}",
            "genres": ["loud" if item < ITEMS // 2 else "quiet"],
        }
        for item in range(ITEMS)
    ]
    users = [
        {"user_id": f"u{user:03d}", "country": "SE", "registered_at": AS_OF - timedelta(days=90)}
        for user in range(USERS)
    ]
    return {"items": items, "users": users, "onboarding": [], "listens": listens()}


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_session):
    """A lakehouse with a batch whose item vectors are published."""
    shared_session("build_track_vectors")
    lake = Lakehouse(str(tmp_path_factory.mktemp("world") / "lake"))
    parents = {}
    for table, rows in inputs().items():
        lake.ensure(table)
        if rows:
            lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
        parents[table] = lake.open(table).version()
    batch = BatchRegistry(lake).open(AS_OF, parents, "s", "v")
    build_track_vectors.main(flags(lake, batch.batch_id))
    return lake, batch.batch_id


def flags(lake: Lakehouse, batch_id: str) -> list[str]:
    return ["--lakehouse", lake.uri, "--batch-id", batch_id]


def with_a_model(lake: Lakehouse, batch_id: str) -> None:
    """What training leaves, as it was before the first step."""
    registry = BatchRegistry(lake)
    layout = FeatureLayout.model_validate_json(registry.get(batch_id).layout)
    uri = lake.model_uri(batch_id)
    digest = save_model(UserModel(UserModelConfig(layout=layout)), uri)
    registry.record(batch_id, model_uri=uri, model_sha256=digest)


def place(lake: Lakehouse, table: str, name: str) -> Path:
    return Path(lake.table_uri(table)) / name


def users_of(lake: Lakehouse, table: str) -> Counter:
    """How often each user is in a table, for whoever opens it now."""
    if not lake.exists(table):
        return Counter()
    return Counter(lake.open(table).to_pyarrow_table(columns=["user_id"])["user_id"].to_pylist())


EVERYONE_ONCE = Counter(f"u{user:03d}" for user in range(USERS))


def data_commits(lake: Lakehouse, table: str) -> int:
    """Versions of a table that brought rows."""
    logs = sorted(place(lake, table, "_delta_log").glob("*.json"))
    return sum(any("add" in json.loads(line) for line in log.open()) for log in logs)


@pytest.fixture(scope="module")
def with_features(built, runs, shared_session):
    """The lakehouse after ``build_features`` was killed at each moment and then ran to its end."""
    lake, batch_id = built
    job = ("jobs/build_features.py", *flags(lake, batch_id))
    staged = Path(lake.staging_uri(batch_id, "training_examples"))
    moments = {
        "while the first table is staged": staged.exists,
        "at the commit of the first": place(lake, "training_examples", DATA_COMMIT).exists,
        "at the commit of the second": place(lake, "user_features", DATA_COMMIT).exists,
    }
    seen = {}
    for name, moment in moments.items():
        runs.kill_when(moment, *job)
        batch = BatchRegistry(lake).get(batch_id)
        seen[name] = users_of(lake, "user_features"), users_of(lake, "training_examples"), batch
    shared_session("build_features")
    build_features.main(flags(lake, batch_id))
    return lake, batch_id, seen


def test_killed_while_it_builds_features_it_shows_no_part_of_them(with_features):
    lake, _, seen = with_features
    whole = users_of(lake, "training_examples")
    assert len(whole) > USERS / 2
    for name, (features, examples, batch) in seen.items():
        assert features in (Counter(), EVERYONE_ONCE), name
        assert examples in (Counter(), whole), name
        # The batch speaks of a table only when all of it is there.
        assert "user_features" not in batch.tables or features == EVERYONE_ONCE, name
        assert "training_examples" not in batch.tables or examples == whole, name
    assert seen["while the first table is staged"][:2] == (Counter(), Counter())
    assert seen["at the commit of the first"][1] == whole
    assert seen["at the commit of the second"][0] == EVERYONE_ONCE


def test_and_the_next_run_ends_with_every_user_once(with_features):
    lake, batch_id, _ = with_features
    batch = BatchRegistry(lake).get(batch_id)
    rows = lake.read("user_features", batch)
    assert Counter(rows["user_id"].to_pylist()) == EVERYONE_ONCE
    examples = lake.read("training_examples", batch, ["user_id", "as_of"]).to_pylist()
    assert max(Counter((row["user_id"], row["as_of"]) for row in examples).values()) == 1
    assert not list(Path(lake.uri).glob("staging/*/*"))
    steps = lake.open("steps").to_pyarrow_table().to_pylist()
    assert [row["rows_out"] for row in steps if row["step"] == "features"] == [USERS]


def test_killed_while_it_embeds_it_goes_on_where_it_was_and_commits_once(with_features, runs):
    lake, batch_id, _ = with_features
    with_a_model(lake, batch_id)
    app = ("ray_apps/batch_embed.py", *flags(lake, batch_id))
    folder = place(lake, "user_embeddings", f"batch_id={batch_id}")

    def buckets() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in folder.glob("bucket-*.parquet")}

    runs.kill_when(lambda: bool(buckets()), *app)
    first = buckets()
    assert 0 < len(first) < BUCKETS
    assert users_of(lake, "user_embeddings") == Counter()

    runs.kill_when(place(lake, "user_embeddings", FIRST_COMMIT).exists, *app)
    all_of_them = buckets()
    assert len(all_of_them) == BUCKETS
    assert first.items() <= all_of_them.items()  # what was there was not written again
    assert users_of(lake, "user_embeddings") == Counter()

    runs.kill_when(place(lake, "user_embeddings", DATA_COMMIT).exists, *app)
    assert users_of(lake, "user_embeddings") == EVERYONE_ONCE

    batch_embed.main(flags(lake, batch_id))
    batch = BatchRegistry(lake).get(batch_id)
    rows = lake.read("user_embeddings", batch, ["user_id"])["user_id"].to_pylist()
    assert Counter(rows) == EVERYONE_ONCE
    assert data_commits(lake, "user_embeddings") == 1
    assert buckets() == all_of_them
    assert not list(folder.glob("*.partial"))
    assert runs.alive() == []
