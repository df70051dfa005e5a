import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lakehouse.versions import Files


@pytest.fixture
def files(lake, rows_of):
    """Three files of ``users``, of two users each."""
    for number in range(3):
        names = [{"user_id": f"u{number}{letter}"} for letter in "ab"]
        lake.append("users", rows_of("users", *names))
    return Files(lake, "users")


def users(lake, version=None):
    return sorted(lake.open("users", version).to_pyarrow_table()["user_id"].to_pylist())


def named(name):
    return lambda part: pc.equal(part["user_id"], name)


def test_a_version_is_made_of_any_files_in_one_commit(lake, files):
    old = files.of(1)
    files.put(old)
    assert lake.open("users").version() == 4
    assert users(lake) == users(lake, 1) == ["u0a", "u0b"]
    files.put(files.of(3))
    assert users(lake) == users(lake, 3)


def test_what_is_there_already_is_not_committed_again(lake, files):
    files.put(files.of())
    assert lake.open("users").version() == 3


def test_a_file_is_written_again_without_some_rows_and_keeps_its_columns(lake, files):
    name = files.of(1)[0]
    new = files.rewrite(name, named("u0a"))
    schemas = [pq.read_schema(f"{lake.table_uri('users')}/{one}") for one in (name, new)]
    assert schemas[0].names == schemas[1].names
    assert schemas[0].types == schemas[1].types
    files.put([new])
    assert users(lake) == ["u0b"]


def test_a_file_of_which_nothing_is_left_has_no_name(files):
    gone = files.rewrite(files.of(1)[0], lambda part: pa.array([True] * part.num_rows))
    assert gone is None


def test_other_batches_partitions_stay(lake, rows_of):
    for batch_id in "ab":
        row = {"batch_id": batch_id, "user_id": "u"}
        lake.append("user_features", rows_of("user_features", row))
    files = Files(lake, "user_features")
    (mine,) = files.of(None, "a")
    files.put([], "a")
    assert files.of(None, "a") == []
    assert len(files.of()) == 1
    files.put([mine], "a")
    rows = lake.open("user_features").to_pyarrow_table()
    assert sorted(rows["batch_id"].to_pylist()) == ["a", "b"]
