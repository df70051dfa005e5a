"""The lakehouse in an S3 store: many processes commit, and nothing is lost."""

import multiprocessing
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.erasure import forget
from lakehouse.files import write_file
from lakehouse.publish import publish_files
from lakehouse.storage import Lakehouse
from lakehouse.vacuum import vacuum
from models.checkpoint import load_codebook, save_codebook
from models.codebook import Codebook
from schemas.contract import contract
from schemas.errors import BatchError, GateError

TABLE = "track_vectors"
WRITERS, COMMITS = 8, 5


@pytest.fixture
def lake(remote_lake):
    return remote_lake


@pytest.fixture(scope="module")
def at_once():
    """Runs a function in processes of their own, with each of some arguments, at the same time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.lakehouse.preload"])
    sys.path.insert(0, str(Path(__file__).parents[2]))

    def run(function, *arguments):
        store = dict(os.environ)  # the server that forks may have been started before the store
        with context.Pool(len(arguments), know, (store,)) as pool:
            return pool.starmap(function, arguments, chunksize=1)

    return run


def know(store: dict[str, str]) -> None:
    os.environ.update(store)


def steps(name: str) -> pa.Table:
    row = {"run_id": name, "step": "brew", "finished_at": datetime.now(UTC), "seconds": 1.0}
    row |= {"rows_in": 1, "rows_out": 1, "detail": "{}"}
    return pa.Table.from_pylist([row], schema=contract("steps").arrow_schema)


def append_steps(uri: str, writer: int) -> None:
    lake = Lakehouse(uri)
    for number in range(COMMITS):
        lake.append("steps", steps(f"{writer}-{number}"))


def append_items(uri: str, writer: int) -> None:
    lake = Lakehouse(uri)
    row = {"item_id": f"t{writer}", "kind": "track"}
    lake.append("items", pa.Table.from_pylist([row], schema=contract("items").arrow_schema))


def promote(uri: str, batch_id: str) -> str:
    try:
        return Lakehouse(uri).batches.promote(batch_id).batch_id
    except BatchError as error:
        return str(error)


@pytest.mark.whole
def test_of_what_many_processes_append_nothing_is_lost(lake, at_once):
    lake.ensure("steps")
    at_once(append_steps, *((lake.uri, writer) for writer in range(WRITERS)))
    seen = lake.rows("steps")["run_id"].to_pylist()
    assert sorted(seen) == sorted(f"{w}-{n}" for w in range(WRITERS) for n in range(COMMITS))
    assert lake.open("steps").version() == WRITERS * COMMITS


@pytest.mark.whole
def test_a_table_that_many_processes_make_at_once_is_made_once(lake, at_once):
    at_once(append_items, *((lake.uri, writer) for writer in range(4)))
    assert sorted(lake.rows("items")["item_id"].to_pylist()) == ["t0", "t1", "t2", "t3"]
    assert lake.open("items").version() == 4


@pytest.mark.whole
def test_of_promotions_at_once_one_is_live_in_the_end(lake, batches, batch, at_once):
    others = [batches.open(batch.as_of, batch.parents, "s", "v").batch_id for _ in range(4)]
    for one in others:
        batches.record(one, state="candidate")
    said = at_once(promote, *((lake.uri, one) for one in others))
    done = [one for one in others if one in said]
    assert done
    assert all(line in done or line.startswith("somebody else changed") for line in said)
    after = {one.batch_id: one.state for one in batches.list()}
    assert sorted(after[one] for one in done) == ["legacy"] * (len(done) - 1) + ["live"]
    assert {after[one] for one in others if one not in done} <= {"candidate"}


def test_a_change_of_the_registry_that_was_overtaken_is_seen(lake, batches, batch):
    def overtaken(known):
        Lakehouse(lake.uri).batches.record(batch.batch_id, layout="another")
        return known

    with pytest.raises(BatchError, match="somebody else changed the batch registry"):
        batches._change(overtaken, attempts=1)
    assert batches.get(batch.batch_id).layout == "another"


def test_rollback_goes_back_in_one_commit(lake, batches, batch):
    other = batches.open(batch.as_of, batch.parents, "s", "v")
    for one in (batch, other):
        batches.record(one.batch_id, state="candidate")
        batches.promote(one.batch_id)
    before = lake.open("batches").version()
    assert batches.rollback().batch_id == batch.batch_id
    assert lake.open("batches").version() == before + 1


def test_files_are_published_once_behind_the_gate(lake, batches, batch, track_vectors):
    for name, seed in (("old.parquet", 1), ("new.parquet", 2)):
        write_file(lake, TABLE, name, track_vectors(batch.batch_id, seed=seed))
        assert publish_files(lake, TABLE, [name], batch) == 6
        assert lake.read(TABLE, batch.batch_id)["support"].to_pylist() == [seed] * 6
    (file,) = lake.files(TABLE, batches.get(batch.batch_id))
    assert file == f"{lake.table_uri(TABLE)}/new.parquet"
    assert lake.filesystem.exists(lake.report_uri(batch.batch_id))
    version = lake.open(TABLE).version()
    publish_files(lake, TABLE, ["new.parquet"], batch)
    assert lake.open(TABLE).version() == version


def test_what_fails_the_gate_changes_nothing(lake, batch, track_vectors):
    write_file(lake, TABLE, "good.parquet", track_vectors(batch.batch_id))
    publish_files(lake, TABLE, ["good.parquet"], batch)
    twice = pa.concat_tables([track_vectors(batch.batch_id)] * 2)
    write_file(lake, TABLE, "bad.parquet", twice)
    with pytest.raises(GateError):
        publish_files(lake, TABLE, ["bad.parquet"], batch)
    assert lake.read(TABLE, batch.batch_id).num_rows == 6


def test_the_plain_files_of_a_batch_are_named_with_their_sizes(lake, batch):
    ((file, size),) = lake.plain_files("items", batch).items()
    assert file.startswith(f"{lake.table_uri('items')}/")
    assert size == lake.filesystem.size(file)
    with lake.filesystem.open(file) as source:
        assert pq.read_table(source).num_rows == 6


def test_vacuum_removes_what_a_retired_batch_had_and_no_more(lake, batches, batch, track_vectors):
    other = batches.open(batch.as_of, batch.parents, "s", "v")
    for one in (batch, other):
        name = f"batch_id={one.batch_id}/part.parquet"
        write_file(lake, TABLE, name, track_vectors(one.batch_id))
        publish_files(lake, TABLE, [name], one)
    batches.record(other.batch_id, state="candidate")
    batches.promote(other.batch_id)
    lake.filesystem.pipe_file(f"{lake.model_uri(batch.batch_id)}/model.json", b"{}")
    batches.retire(batch.batch_id)
    told = {part.what for part in vacuum(lake, dry_run=True)}
    assert told == {f"tables/{TABLE}", f"models/{batch.batch_id}"}
    assert {part.what for part in vacuum(lake)} == told
    left = [name for name in lake.filesystem.find(lake.table_uri(TABLE)) if "_log" not in name]
    assert [name.split("/")[-2] for name in left] == [f"batch_id={other.batch_id}"]
    assert lake.read(TABLE, "live").num_rows == 6
    assert not lake.filesystem.exists(lake.model_uri(batch.batch_id))


def test_whoever_is_forgotten_is_in_no_file(lake, batches, rows_of):
    lake.append("users", rows_of("users", {"user_id": "gone"}, {"user_id": "stays"}))
    pinned = batches.open(
        datetime(2026, 3, 1, tzinfo=UTC), {"users": lake.open("users").version()}, "s", "v"
    )
    forget(lake, ["gone"])
    assert lake.read("users", pinned.batch_id)["user_id"].to_pylist() == ["stays"]
    files = lake.filesystem.find(lake.uri)
    assert not [name for name in files if b"gone" in lake.filesystem.cat_file(name)]
    assert f"{lake.uri}/erasing.json".removeprefix("s3://") not in files


def test_a_model_is_kept_and_found_again(lake):
    saved = Codebook(3)
    save_codebook(saved, lake.model_uri("b"))
    assert (load_codebook(lake.model_uri("b")).anchors == saved.anchors).all()
