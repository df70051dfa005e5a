import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse import publish
from lakehouse.files import write_file
from lakehouse.publish import publish_files, publish_frame
from schemas.errors import BatchError, GateError

TABLE = "track_vectors"


def written(lake, rows: pa.Table, name: str = "part-0.parquet") -> str:
    """A file in the table's folder, as a Ray worker leaves it before the commit."""
    folder = lake.table_uri(TABLE)
    lake.filesystem.makedirs(folder, exist_ok=True)
    pq.write_table(rows, f"{folder}/{name}")
    return name


def refused(rows: pa.Table) -> pa.Table:
    source = pa.array(["hearsay"] * rows.num_rows, pa.string())
    return rows.set_column(rows.schema.names.index("source"), rows.schema.field("source"), source)


def frame_of(spark, rows: pa.Table):
    return spark.createDataFrame(rows.to_pandas())


def seen(lake, batches, batch) -> list[dict]:
    """The rows that a reader of the batch sees through delta-rs."""
    rows = lake.read(TABLE, batches.get(batch.batch_id)).to_pylist()
    return sorted(rows, key=lambda row: row["item_id"])


def adds(lake) -> list[dict]:
    return pa.table(lake.open(TABLE).get_add_actions(flatten=True)).to_pydict()


class CrashedError(RuntimeError):
    pass


@pytest.fixture
def crash_before_pointing(monkeypatch):
    """A process that dies after the commit and before the batch knows of it."""

    def crash(*_):
        raise CrashedError

    def attempt(call):
        with monkeypatch.context() as patch:
            patch.setattr(publish, "_point", crash)
            with pytest.raises(CrashedError):
                call()

    return attempt


def test_files_are_committed_and_the_batch_points_at_them(lake, batches, batch, track_vectors):
    rows = track_vectors(batch.batch_id)
    names = [
        written(lake, rows.slice(0, 2), "a.parquet"),
        written(lake, rows.slice(2), "b.parquet"),
    ]
    assert publish_files(lake, TABLE, names, batch) == 6
    assert seen(lake, batches, batch) == rows.to_pylist()
    now = batches.get(batch.batch_id)
    assert now.tables == {TABLE: lake.open(TABLE).version()}
    assert now.gates == {TABLE: "passed"}
    assert sorted(uri.rsplit("/", 1)[1] for uri in lake.files(TABLE, now)) == names


def test_files_that_fail_the_gate_are_seen_by_nobody(lake, batches, batch, track_vectors):
    name = written(lake, refused(track_vectors(batch.batch_id)))
    with pytest.raises(GateError, match=r"hearsay[\s\S]*reports/"):
        publish_files(lake, TABLE, [name], batch)
    assert lake.open(TABLE).to_pyarrow_table().num_rows == 0
    assert batches.get(batch.batch_id).tables == {}
    assert lake.filesystem.exists(lake.report_uri(batch.batch_id))


def test_files_published_twice_are_committed_once(lake, batches, batch, track_vectors):
    name = written(lake, track_vectors(batch.batch_id))
    for _ in range(2):
        publish_files(lake, TABLE, [name], batch)
    assert lake.open(TABLE).version() == 1
    assert len(seen(lake, batches, batch)) == 6


def test_files_are_committed_once_though_the_first_try_crashed(
    lake, batches, batch, track_vectors, crash_before_pointing
):
    name = written(lake, track_vectors(batch.batch_id))
    crash_before_pointing(lambda: publish_files(lake, TABLE, [name], batch))
    assert batches.get(batch.batch_id).tables == {}
    publish_files(lake, TABLE, [name], batch)
    assert len(seen(lake, batches, batch)) == 6
    assert lake.open(TABLE).version() == 1


def test_other_files_of_a_batch_take_the_place_of_its_first_ones(
    lake, batches, batch, track_vectors
):
    publish_files(lake, TABLE, [written(lake, track_vectors(batch.batch_id, seed=1))], batch)
    rows = track_vectors(batch.batch_id)
    publish_files(lake, TABLE, [written(lake, rows, "part-1.parquet")], batch)
    assert seen(lake, batches, batch) == rows.to_pylist()


def test_a_step_whose_inputs_an_erasure_has_changed_publishes_nothing(
    lake, batches, batch, track_vectors
):
    name = written(lake, track_vectors(batch.batch_id))
    batches.repin({"listens": {3: 5}})
    with pytest.raises(BatchError, match="a person was erased from them"):
        publish_files(lake, TABLE, [name], batch)
    assert not lake.exists(TABLE)


def test_a_refresh_replaces_the_rows_for_readers_only_at_its_end(
    lake, batches, batch, track_vectors
):
    old, new = (track_vectors(batch.batch_id, seed=seed) for seed in (0, 1))
    publish_files(lake, TABLE, [written(lake, old)], batch)
    batches.record(batch.batch_id, state="candidate")
    batches.promote(batch.batch_id)
    working = batches.begin_refresh(batch.batch_id, batch.as_of, {})
    publish_files(lake, TABLE, [written(lake, new, "part-1.parquet")], working)
    assert seen(lake, batches, batch) == old.to_pylist()
    batches.end_refresh(batch.batch_id, keep=True)
    assert seen(lake, batches, batch) == new.to_pylist()


def test_the_log_says_what_range_each_file_holds(lake, batch, track_vectors):
    publish_files(lake, TABLE, [written(lake, track_vectors(batch.batch_id))], batch)
    logged = adds(lake)
    assert logged["num_records"] == [6]
    assert (logged["min.item_id"], logged["max.item_id"]) == (["t0"], ["t5"])
    assert (logged["min.support"], logged["max.support"]) == ([0], [0])
    assert logged["partition.batch_id"] == [batch.batch_id]


def test_a_range_that_a_part_of_the_file_does_not_tell_is_left_out(tmp_path):
    place = tmp_path / "part.parquet"
    long = "z" * 5_000  # Parquet keeps no statistics of what is longer than 4 KiB
    with pq.ParquetWriter(place, pa.schema([("name", pa.string()), ("n", pa.int64())])) as writer:
        for name, number in [("a", 1), (long, None)]:
            writer.write_table(
                pa.table({"name": [name], "n": pa.array([number], pa.int64())}), row_group_size=1
            )
    found = publish._statistics(pq.read_metadata(place), "steps")
    assert found == {"numRecords": 2, "minValues": {"n": 1}, "maxValues": {"n": 1}}


def test_only_scalars_that_delta_orders_have_a_range(tmp_path):
    place = tmp_path / "part.parquet"
    pq.write_table(
        pa.table({"tags": [["a", "b"]], "held": [True], "share": [0.5], "name": ["x"]}), place
    )
    assert publish._statistics(pq.read_metadata(place), "steps")["minValues"] == {"name": "x"}


def test_readers_of_another_batch_see_no_change(lake, batches, track_vectors, batch):
    other = batches.open(batch.as_of, batch.parents, "s", "v")
    publish_files(lake, TABLE, [written(lake, track_vectors(batch.batch_id), "a.parquet")], batch)
    before = seen(lake, batches, batch)
    publish_files(
        lake, TABLE, [written(lake, track_vectors(other.batch_id, seed=1), "b.parquet")], other
    )
    assert seen(lake, batches, batch) == before
    assert {row["batch_id"] for row in seen(lake, batches, other)} == {other.batch_id}


@pytest.mark.parametrize("state", ["candidate", "failed"])
def test_only_a_batch_that_is_building_is_written(lake, batches, batch, track_vectors, state):
    closed = batches.record(batch.batch_id, state=state)
    name = written(lake, track_vectors(batch.batch_id))
    with pytest.raises(BatchError, match=f"is {state}: only a batch that is building"):
        publish_files(lake, TABLE, [name], closed)
    assert not lake.exists(TABLE)


@pytest.mark.spark
def test_a_frame_is_published_once_however_often_it_is_tried(
    spark, lake, batches, batch, track_vectors, crash_before_pointing
):
    first, rows = track_vectors(batch.batch_id, seed=1), track_vectors(batch.batch_id)
    crash_before_pointing(lambda: publish_frame(lake, TABLE, frame_of(spark, first), batch))
    assert batches.get(batch.batch_id).tables == {}
    assert publish_frame(lake, TABLE, frame_of(spark, rows), batch) == 6
    assert seen(lake, batches, batch) == rows.to_pylist()
    assert not lake.filesystem.exists(lake.staging_uri(batch.batch_id, TABLE))


@pytest.mark.spark
def test_a_frame_that_fails_the_gate_changes_nothing(spark, lake, batches, batch, track_vectors):
    rows = track_vectors(batch.batch_id)
    publish_frame(lake, TABLE, frame_of(spark, rows), batch)
    before = batches.get(batch.batch_id)
    version = lake.open(TABLE).version()
    with pytest.raises(GateError, match="hearsay"):
        publish_frame(lake, TABLE, frame_of(spark, refused(rows)), batch)
    assert batches.get(batch.batch_id) == before
    assert lake.open(TABLE).version() == version
    assert seen(lake, batches, batch) == rows.to_pylist()


@pytest.mark.spark
def test_each_engine_reads_what_the_other_committed(spark, lake, batches, batch, track_vectors):
    by_ray, by_spark = batch, batches.open(batch.as_of, batch.parents, "s", "v")
    publish_files(lake, TABLE, [written(lake, track_vectors(by_ray.batch_id))], by_ray)
    publish_frame(lake, TABLE, frame_of(spark, track_vectors(by_spark.batch_id)), by_spark)
    read = spark.read.format("delta").load(lake.table_uri(TABLE))
    for one in (by_ray, by_spark):
        expected = track_vectors(one.batch_id).to_pylist()
        assert seen(lake, batches, one) == expected
        theirs = read.where(read.batch_id == one.batch_id).orderBy("item_id").collect()
        assert [row.asDict() for row in theirs] == expected
    assert all(adds(lake)["min.item_id"])
    assert read.where("item_id > 't4'").count() == 2


def test_a_file_that_is_written_again_is_whole_and_seen_by_nobody_before_a_commit(
    lake, batch, track_vectors
):
    rows = track_vectors(batch.batch_id)
    name = f"batch_id={batch.batch_id}/part-0.parquet"
    for _ in range(2):
        write_file(lake, TABLE, name, rows)
    folder = f"{lake.table_uri(TABLE)}/batch_id={batch.batch_id}"
    assert [place.rsplit("/", 1)[1] for place in lake.filesystem.ls(folder, detail=False)] == [
        "part-0.parquet"
    ]
    stored = pq.ParquetFile(f"{folder}/part-0.parquet").read()
    assert stored.num_rows == rows.num_rows
    assert not lake.exists(TABLE)
