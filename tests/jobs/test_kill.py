"""SIGKILL at the worst moments: readers see nothing or all, and the next run ends it well.

What is killed is what an operator starts, a process of its own with all that it has started; the
run that ends the work is a call in this process. The three entry points are killed side by side:
each of them waits for engines to start most of the time.
"""

import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from jobs import build_features, build_track_vectors, ingest
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.layout import FeatureLayout
from models.user_model import UserModel, UserModelConfig
from ray_apps import batch_embed
from schemas.contract import contract

pytestmark = [pytest.mark.spark, pytest.mark.whole, pytest.mark.timeout(1200)]

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS, PLAYS, BUCKETS = 240, 60, 20, 16
SILENT = 12  # users who have never played anything
FIRST_COMMIT = "_delta_log/00000000000000000000.json"  # makes the table
DATA_COMMIT = "_delta_log/00000000000000000001.json"
GOOD, BAD, THINGS = 2_000, 20, 300
DELIVERED = {"listens": GOOD, "items": THINGS, "quarantine": BAD + 1}


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


def make_shop(shop, good_play) -> None:
    """Two thousand good plays, twenty that last less than no time, and an item that repeats."""
    items = [{"sku": f"t{number}", "title": f"Song {number}"} for number in range(THINGS)]
    shop.put("items.csv", [*items, items[0]])
    plays = [good_play(number) for number in range(GOOD)]
    bad = [good_play(GOOD + number, ms=-1) for number in range(BAD)]
    shop.put("plays1.csv", plays[::2] + bad)
    shop.put("plays2.csv", plays[1::2])


def build_vectors(lake: Lakehouse) -> str:
    """A batch whose item vectors are published."""
    parents = {}
    for table, rows in inputs().items():
        lake.ensure(table)
        if rows:
            lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
        parents[table] = lake.open(table).version()
    batch = BatchRegistry(lake).open(AS_OF, parents, "s", "v")
    build_track_vectors.main(flags(lake, batch.batch_id))
    return batch.batch_id


def counts(shop) -> dict[str, int]:
    return {table: len(shop.rows(table)) for table in DELIVERED}


def _matches(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))


def ended(shop) -> int:
    """How often the ingest has come to its end; its gates write steps of their own."""
    return sum(row["step"] == "ingest" for row in shop.rows("steps"))


def kill_ingest(shop, runs) -> dict[str, dict[str, int]]:
    """What readers saw after each kill."""
    seen = {}
    for moment in (f"tables/quarantine/{DATA_COMMIT}", "staging/*", f"tables/items/{DATA_COMMIT}"):
        found = partial(_matches, Path(shop.lake.uri), moment)
        runs.kill_when(found, "jobs/ingest.py", *shop.argv)
        seen[moment] = {**counts(shop), "ended": ended(shop)}
    return seen


def kill_features(lake: Lakehouse, batch_id: str, runs) -> dict[str, tuple]:
    """Users of both tables, and the batch, as they were after each kill."""
    moments = {
        "while the first files are written": place(
            lake, "training_examples", f"batch_id={batch_id}"
        ).exists,
        "at the commit of the first": place(lake, "training_examples", DATA_COMMIT).exists,
        "at the commit of the second": place(lake, "user_features", DATA_COMMIT).exists,
    }
    seen = {}
    for name, moment in moments.items():
        runs.kill_when(moment, "jobs/build_features.py", *flags(lake, batch_id))
        batch = BatchRegistry(lake).get(batch_id)
        seen[name] = users_of(lake, "user_features"), users_of(lake, "training_examples"), batch
    return seen


def bucket_files(lake: Lakehouse, batch_id: str) -> dict[str, int]:
    """The written buckets, and when each was."""
    folder = place(lake, "user_embeddings", f"batch_id={batch_id}")
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("bucket-*.parquet")}


def kill_embedding(lake: Lakehouse, batch_id: str, runs) -> list[tuple[dict[str, int], Counter]]:
    """Buckets and visible users after each kill: at the first bucket, and at both commits."""
    moments = [
        lambda: bool(bucket_files(lake, batch_id)),
        place(lake, "user_embeddings", FIRST_COMMIT).exists,
        place(lake, "user_embeddings", DATA_COMMIT).exists,
    ]
    seen = []
    for moment in moments:
        runs.kill_when(moment, "ray_apps/batch_embed.py", *flags(lake, batch_id))
        seen.append((bucket_files(lake, batch_id), users_of(lake, "user_embeddings")))
    return seen


@pytest.fixture(scope="module")
def killed(tmp_path_factory, new_runs, new_shop, good_play, shared_session):
    """Every entry point killed at its moments, and what was seen; nothing is finished yet."""
    folder = tmp_path_factory.mktemp("killed")
    shop = new_shop(folder / "shop")
    make_shop(shop, good_play)
    for job in ("build_track_vectors", "build_features", "ingest"):
        shared_session(job)
    with ThreadPoolExecutor(3) as side_by_side:
        of_ingest = side_by_side.submit(kill_ingest, shop, new_runs())
        lake = Lakehouse(str(folder / "lake"))
        batch_id = build_vectors(lake)
        other = Lakehouse(shutil.copytree(folder / "lake", folder / "other"))
        of_features = side_by_side.submit(kill_features, lake, batch_id, new_runs())
        build_features.main(flags(other, batch_id))
        with_a_model(other, batch_id)
        of_embedding = kill_embedding(other, batch_id, new_runs())
    return SimpleNamespace(
        shop=shop,
        lake=lake,
        other=other,
        batch_id=batch_id,
        ingest=of_ingest.result(),
        features=of_features.result(),
        embedding=of_embedding,
    )


def test_killed_while_it_ingests_it_shows_no_part_and_ends_with_every_row_once(killed):
    shop = killed.shop
    for moment, seen in killed.ingest.items():
        for table, rows in DELIVERED.items():
            assert seen[table] in (0, rows), f"{seen[table]} rows of {table} after {moment}"
        assert seen["ended"] == 0
    assert seen["quarantine"] == DELIVERED["quarantine"]

    ingest.main(shop.argv)
    assert counts(shop) == DELIVERED
    for table, key in [("listens", "event_id"), ("items", "item_id")]:
        assert len({row[key] for row in shop.rows(table)}) == DELIVERED[table]
    refused = sorted((row["table"], row["event_id"]) for row in shop.rows("quarantine"))
    assert refused == [("items", "t0"), *(("listens", f"e{GOOD + n}") for n in range(BAD))]
    assert ended(shop) == 1
    assert not list((shop.folder / "lake" / "staging").glob("*"))


def test_killed_while_it_builds_features_it_shows_no_part_and_ends_with_every_user_once(killed):
    lake, batch_id, seen = killed.lake, killed.batch_id, killed.features
    build_features.main(flags(lake, batch_id))
    whole = users_of(lake, "training_examples")
    assert len(whole) > USERS / 2
    for name, (features, examples, batch) in seen.items():
        assert features in (Counter(), EVERYONE_ONCE), name
        assert examples in (Counter(), whole), name
        # The batch speaks of a table only when all of it is there.
        assert "user_features" not in batch.tables or features == EVERYONE_ONCE, name
        assert "training_examples" not in batch.tables or examples == whole, name
    assert seen["while the first files are written"][:2] == (Counter(), Counter())
    assert seen["at the commit of the first"][1] == whole
    assert seen["at the commit of the second"][0] == EVERYONE_ONCE

    rows = lake.read("user_features", BatchRegistry(lake).get(batch_id))
    assert Counter(rows["user_id"].to_pylist()) == EVERYONE_ONCE
    examples = lake.open("training_examples").to_pyarrow_table().to_pylist()
    assert max(Counter((row["user_id"], row["as_of"]) for row in examples).values()) == 1
    assert not list(Path(lake.uri).glob("staging/*/*"))
    steps = lake.open("steps").to_pyarrow_table().to_pylist()
    assert [row["rows_out"] for row in steps if row["step"] == "features"] == [USERS]


def test_killed_while_it_embeds_it_goes_on_where_it_was_and_commits_once(killed):
    lake, batch_id = killed.other, killed.batch_id
    (first, none), (buckets, still_none), (same, everyone) = killed.embedding
    assert 0 < len(first) < BUCKETS
    assert first.items() <= buckets.items()  # what was there was not written again
    assert len(buckets) == BUCKETS
    assert none == still_none == Counter()
    assert same == buckets
    assert everyone == EVERYONE_ONCE

    batch_embed.main(flags(lake, batch_id))
    rows = lake.read("user_embeddings", BatchRegistry(lake).get(batch_id), ["user_id"])
    assert Counter(rows["user_id"].to_pylist()) == EVERYONE_ONCE
    assert data_commits(lake, "user_embeddings") == 1
    assert bucket_files(lake, batch_id) == buckets
    assert not list(place(lake, "user_embeddings", f"batch_id={batch_id}").glob("*.partial"))
