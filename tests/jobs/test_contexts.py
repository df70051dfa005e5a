from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jobs.contexts import known_contexts, packed, sharpened
from models.context_training import ContextTrainingConfig, ItemModel
from models.features import unit
from schemas.arrow import unblob
from schemas.contract import contract

pytestmark = pytest.mark.spark

ITEMS = 30
SUPPORT = np.full(ITEMS, 10)
CONFIG = ContextTrainingConfig(
    samples_per_item=2_000,
    samples_per_play=1_000,
    queries=32,
    negatives=64,
    steps_per_shard=100,
    rounds=3,
)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, int]]:
    """Users with even numbers play the first half of the items, the others the second."""
    rng = np.random.default_rng(0)
    return [
        (f"u{user}", int(rng.integers(0, ITEMS // 2)) + ITEMS // 2 * (user % 2))
        for user in range(60)
        for _ in range(1 + user % 9)
    ]


@pytest.fixture(scope="module")
def plays(spark, rows):
    return spark.createDataFrame(rows, "context string, item int")


def test_every_play_is_packed_once_and_no_user_is_cut(plays, rows):
    contexts = []
    for row in packed(plays, 4).collect():
        items, lengths = (
            unblob(row["items"], dtype=np.int32),
            unblob(row["lengths"], dtype=np.int64),
        )
        assert lengths.sum() == len(items)
        contexts += [tuple(part.tolist()) for part in np.split(items, np.cumsum(lengths)[:-1])]
    by_user = {user: sorted(item for who, item in rows if who == user) for user, _ in rows}
    assert sorted(contexts) == sorted(tuple(items) for items in by_user.values())


def test_shards_are_named_by_their_place(plays):
    named = [row["shard"] for row in packed(plays, 4).collect()]
    assert named == sorted(set(named))


def moved(plays, seed: int = 0) -> np.ndarray:
    start = unit(np.random.default_rng(1).standard_normal((ITEMS, 8)).astype(np.float32))
    model = ItemModel.at(start, np.full(ITEMS, -1))
    return sharpened(plays, model, SUPPORT, CONFIG, seed).vectors()


def test_shards_together_find_out_who_is_played_with_whom(plays):
    assert CONFIG.shards(CONFIG.steps(ITEMS, int(SUPPORT.sum()))) > 1
    vectors = moved(plays)
    alike = vectors @ vectors.T
    half = np.arange(ITEMS) < ITEMS // 2
    assert alike[half][:, half].mean() > alike[half][:, ~half].mean() + 0.5


def test_the_order_of_the_rows_changes_nothing(spark, plays, rows):
    mixed = spark.createDataFrame(rows[::-1], "context string, item int").repartition(3)
    assert_array_equal(moved(plays), moved(mixed))


def test_with_nothing_to_train_on_vectors_stay(plays):
    start = unit(np.random.default_rng(1).standard_normal((ITEMS, 8)).astype(np.float32))
    config = CONFIG.model_copy(update={"samples_per_item": 0.0})
    model = ItemModel.at(start, np.full(ITEMS, -1))
    assert_allclose(sharpened(plays, model, SUPPORT, config, 0).vectors(), start, atol=1e-6)


def test_a_playlist_is_a_context_that_leaves_with_its_owners_fold(spark, lake):
    at, late = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    entries = [("p", 0, "a", "ann", at), ("p", 1, "b", "ann", late), ("q", 7, "c", None, at)]
    names = ("playlist_id", "position", "item_id", "user_id", "added_at")
    rows = [dict(zip(names, entry, strict=True)) for entry in entries]
    for table, put in {"playlists": rows, "listens": [play("ann", "z", at)]}.items():
        lake.append(table, pa.Table.from_pylist(put, schema=contract(table).arrow_schema))
    parents = {table: lake.open(table).version() for table in ("playlists", "listens")}
    batch = lake.batches.open(at + timedelta(days=1), parents, "s", "v")
    found = known_contexts(spark, lake, batch).select("context", "user_id", "item_id").collect()
    assert sorted(map(tuple, found)) == [
        ("ann", "ann", "z"),
        ("playlist p", "ann", "a"),
        ("playlist q", "playlist q", "c"),
    ]


def test_a_batch_of_before_there_were_playlists_has_only_plays(spark, lake):
    at = datetime(2026, 3, 1, tzinfo=UTC)
    rows = pa.Table.from_pylist([play("ann", "z", at)], schema=contract("listens").arrow_schema)
    lake.append("listens", rows)
    batch = lake.batches.open(at + timedelta(days=1), {"listens": 1}, "s", "v")
    assert known_contexts(spark, lake, batch).count() == 1


def play(user: str, item: str, at: datetime) -> dict:
    row = {"event_id": f"{user}-{item}", "user_id": user, "item_id": item, "item_kind": "track"}
    return row | {"played_at": at, "ingested_at": at}
