from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from lakehouse import profile as module
from lakehouse.profile import HASHES, hashes, key_of, paired, profile, sampled
from schemas.arrow import list_column
from schemas.contract import contract

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")
BUCKETS = 8


def users(count: int, first: int = 0) -> list[str]:
    return [f"u{number:06d}" for number in range(first, first + count)]


def embeddings(ids: list[str], seed: int = 0, **changes) -> pa.Table:
    """Rows of ``user_embeddings`` as a careless writer may leave them: anything may be null."""
    vectors = np.random.default_rng(seed).standard_normal((len(ids), 128))
    columns = {
        "batch_id": ["b"] * len(ids),
        "user_id": ids,
        "bucket": pa.array([int(hash_ % BUCKETS) for hash_ in hashes(np.array(ids))], pa.int32()),
        "as_of": pa.array([NOON] * len(ids), MOMENT),
        "embedding": list_column(vectors),
        "source": ["batch"] * len(ids),
        "status": ["established"] * len(ids),
        "fingerprint": [0] * len(ids),
    }
    return pa.table(columns | changes)


def features(ids: list[str], values: list, present: list) -> pa.Table:
    table = embeddings(ids).select(["batch_id", "user_id", "bucket", "as_of"])
    vectors = pa.list_(pa.float32())
    table = table.append_column("features", pa.array(values, vectors))
    table = table.append_column("present", pa.array(present, vectors))
    for name, kind in (("played_between", pa.int64()), ("decayed_plays", pa.float64())):
        table = table.append_column(name, pa.array([[]] * len(ids), pa.list_(kind)))
    return table.append_column("fingerprint", pa.array([0] * len(ids), pa.int64()))


def profiled(rows: pa.Table, expected: int | None = None, table: str = "user_embeddings"):
    return profile(ds.dataset(rows), table, expected or len(rows), vectors=True)


@pytest.fixture
def few(monkeypatch):
    """Samples as small as those of a table that is a thousand times larger."""
    monkeypatch.setattr(module, "VECTORS", 20)
    monkeypatch.setattr(module, "KEYS", 1_000)


@pytest.mark.parametrize(
    ("table", "key"),
    [("track_vectors", "item_id"), ("user_features", "user_id"), ("user_embeddings", "user_id")],
)
def test_a_row_is_named_by_its_key_within_the_batch(table, key):
    assert key_of(table) == key


def test_a_hash_is_the_same_in_every_process_and_batch():
    found = hashes(np.array(["u1", "u2"], object))
    assert found.tolist() == [2386011005, 960448285]
    assert found.dtype == np.uint64


def test_hashes_are_spread_evenly():
    assert (hashes(np.array(users(10_000))) < HASHES / 4).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("below", [HASHES, HASHES // 2])
def test_a_null_is_in_no_sample(below):
    ids = pa.array([None, *users(40), None])
    found = sampled(ids, below).to_pylist()
    assert found[0] is found[-1] is False
    assert sum(found) == (hashes(np.array(users(40))) < below).sum() > 0


def test_rows_keys_nulls_and_the_oldest_moment_are_of_all_rows():
    ids = [*users(6), "u000001", None]
    moments = [NOON] * 7 + [NOON - timedelta(days=3)]
    found = profiled(embeddings(users(8), user_id=pa.array(ids), as_of=pa.array(moments, MOMENT)))
    assert found.rows == 8
    assert sorted(found.keys.to_pylist()) == users(6)
    assert found.nulls["user_id"] == 1 / 8
    assert found.nulls["status"] == 0
    assert found.as_of == NOON - timedelta(days=3)


def test_counts_of_parts_add_up_to_those_of_the_whole(tmp_path, monkeypatch):
    bits = [[1.0, float(number % 4 == 0)] for number in range(90)]
    bits[7], bits[50] = [1.0], [np.nan, 1.0]
    rows = features(users(90), [[0.5]] * 90, bits)
    moments = [NOON - timedelta(days=number % 5) for number in range(90)]
    rows = rows.set_column(3, "as_of", pa.array(moments, MOMENT))
    for part in range(6):
        ds.write_dataset(rows.slice(15 * part, 15), tmp_path / f"{part}", format="parquet")
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 30)
    given = []

    def elsewhere(work, parts):
        given.extend(parts)
        return map(work, parts)

    staged = ds.dataset(tmp_path, format="parquet")
    whole = profile(staged, "user_features", 90, vectors=False)
    found = profile(staged, "user_features", 90, vectors=False, spread=elsewhere)
    assert len(given) == 3
    assert sorted(found.keys.to_pylist()) == sorted(whole.keys.to_pylist()) == users(90)
    assert found.present.tolist() == whole.present.tolist()
    for name in ("rows", "nulls", "below", "as_of", "buckets"):
        assert getattr(found, name) == getattr(whole, name)


def test_a_table_without_rows_has_an_empty_profile():
    found = profiled(embeddings([]))
    assert (found.rows, len(found.keys), len(found.vectors), found.as_of) == (0, 0, 0, None)
    assert set(found.nulls.values()) == {0.0}


def test_users_of_whom_nothing_is_known_are_not_among_the_vectors():
    status = ["established", "cold_start"] * 30
    found = profiled(embeddings(users(60), status=pa.array(status)))
    assert sorted(found.ids) == users(60)[::2]


def test_vectors_that_are_missing_ragged_or_not_finite_are_left_to_their_own_checks():
    lists = embeddings(users(60))["embedding"].to_pylist()
    lists[0], lists[1], lists[2] = None, [1.0], [np.nan] * 128
    lists[3] = [None] * 128
    found = profiled(embeddings(users(60), embedding=pa.array(lists, pa.list_(pa.float32()))))
    assert sorted(found.ids) == users(60)[4:]
    assert found.vectors.shape == (56, 128)
    assert found.lengths == {"embedding": Counter({128: 58, 1: 1})}


@pytest.mark.usefixtures("few")
def test_presence_is_counted_over_all_rows_beside_the_sample():
    bits = [[1.0, float(number % 4 == 0)] for number in range(200)]
    found = profiled(features(users(200), [[0.5]] * 200, bits), table="user_features")
    assert found.present.tolist() == [1, 0.25]
    assert len(found.vectors) == len(found.groups) < 60


def test_bits_of_another_length_do_not_hide_the_others():
    bits = [[1.0, 0.0]] * 59 + [[1.0]]
    found = profiled(features(users(60), [[0.5]] * 60, bits), table="user_features")
    assert found.present.tolist() == [1, 0]
    assert found.lengths["present"] == Counter({2: 59, 1: 1})


@pytest.mark.usefixtures("few")
def test_two_batches_are_sampled_for_the_same_users():
    now, live = embeddings(users(900, first=100), seed=1), embeddings(users(900), seed=2)
    ours, theirs = (profiled(side, 900) for side in (now, live))
    both = {*users(800, first=100)}
    assert {*ours.ids} & both == {*theirs.ids} & both
    assert 5 < len(ours.ids) < 60
    keys = [set(side.keys.to_pylist()) & both for side in (ours, theirs)]
    assert keys[0] == keys[1]


@pytest.mark.usefixtures("few")
def test_whole_buckets_are_read_and_the_others_are_not(tmp_path):
    rows = embeddings(users(900))
    for bucket in range(BUCKETS):
        part = rows.filter(pa.array(rows["bucket"].to_numpy() == bucket))
        ds.write_dataset(part, tmp_path / f"{bucket}", format="parquet")
    found = profile(ds.dataset(str(tmp_path)), "user_embeddings", 900, vectors=True)
    assert set(hashes(found.ids) % BUCKETS) == {0}
    # The vectors of all other buckets may be gone: nobody looks at them.
    for bucket in range(1, BUCKETS):
        place = tmp_path / f"{bucket}" / "part-0.parquet"
        light = rows.filter(pa.array(rows["bucket"].to_numpy() == bucket))
        empty = pa.nulls(len(light), pa.list_(pa.float32()))
        light = light.set_column(4, "embedding", empty)
        ds.write_dataset(
            light, place.parent, format="parquet", existing_data_behavior="overwrite_or_ignore"
        )
    again = profile(ds.dataset(str(tmp_path)), "user_embeddings", 900, vectors=True)
    assert again.ids.tolist() == found.ids.tolist()
    assert (again.vectors == found.vectors).all()


def test_a_sample_is_no_larger_where_a_bucket_holds_more_than_it(monkeypatch):
    monkeypatch.setattr(module, "VECTORS", 50)
    rows = embeddings(users(2_000), bucket=pa.array([0, 1] * 1_000, pa.int32()))
    assert 25 < len(profiled(rows).ids) < 100


def test_the_order_of_rows_in_the_files_does_not_matter():
    rows = embeddings(users(300))
    shuffled = rows.take(np.random.default_rng(0).permutation(300))
    one, other = profiled(rows), profiled(shuffled)
    assert one.ids.tolist() == other.ids.tolist()
    assert (one.vectors == other.vectors).all()


def test_pairs_are_those_whom_both_hold():
    now, live = np.array(["c", "x", "a", "c"], object), np.array(["a", "b", "c", "a"], object)
    here, there = paired(now, live)
    assert list(now[here]) == list(live[there]) == ["c", "a", "c"]
    assert there.tolist() == [2, 0, 2]


def test_contracts_name_the_columns_that_are_counted():
    found = profiled(embeddings(users(3)))
    light = {c.name for c in contract("user_embeddings").columns if not c.is_vector}
    assert set(found.nulls) == light
