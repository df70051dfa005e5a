from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from jobs.tables import batch_of, join, known_listens, read
from lakehouse.batches import BatchRegistry
from schemas.contract import contract
from schemas.errors import MixedBatchesError

pytestmark = pytest.mark.spark

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def listen(event_id: str, played_at: datetime, ingested_at: datetime) -> dict:
    row = {"event_id": event_id, "user_id": "u0", "item_id": "t0", "item_kind": "track"}
    return row | {"played_at": played_at, "ingested_at": ingested_at}


def appended(lake, table: str, rows: list[dict]) -> int:
    lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
    return lake.open(table).version()


def ids(frame) -> list[str]:
    return sorted(row["event_id"] for row in frame.collect())


def test_a_play_is_known_if_it_happened_before_and_was_learned_by_the_moment(spark, lake):
    plays = [
        listen("before", AS_OF - MINUTE, AS_OF - MINUTE),
        listen("learned just in time", AS_OF - MINUTE, AS_OF),
        listen("learned late", AS_OF - MINUTE, AS_OF + MINUTE),
        listen("at the moment", AS_OF, AS_OF),
        listen("after", AS_OF + MINUTE, AS_OF + MINUTE),
    ]
    version = appended(lake, "listens", plays)
    batch = BatchRegistry(lake).open(AS_OF, {"listens": version}, "s", "v")
    assert ids(known_listens(spark, lake, batch)) == ["before", "learned just in time"]


def test_what_arrived_after_the_batch_was_opened_is_not_seen(spark, lake):
    version = appended(lake, "listens", [listen("e0", AS_OF - MINUTE, AS_OF - MINUTE)])
    batch = BatchRegistry(lake).open(AS_OF, {"listens": version}, "s", "v")
    appended(lake, "listens", [listen("e1", AS_OF - MINUTE, AS_OF - MINUTE)])
    assert ids(read(spark, lake, "listens", batch)) == ["e0"]


@pytest.fixture
def two(lake):
    """Two batches with one item vector each."""
    registry = BatchRegistry(lake)
    ours, theirs = (registry.open(AS_OF, {}, "s", "v") for _ in range(2))
    rows = [
        {
            "batch_id": batch.batch_id,
            "item_id": "t0",
            "vector": [1.0] + [0.0] * 79,
            "support": 1,
            "source": "content",
        }
        for batch in (ours, theirs)
    ]
    version = appended(lake, "track_vectors", rows)
    tables = {"track_vectors": version}
    return [registry.record(batch.batch_id, tables=tables) for batch in (ours, theirs)]


def test_of_a_table_that_it_published_a_batch_sees_its_own_rows(spark, lake, two):
    found = read(spark, lake, "track_vectors", two[0]).collect()
    assert [row["batch_id"] for row in found] == [two[0].batch_id]


def test_a_frame_knows_its_batch_through_selections_and_filters(spark, lake, two):
    frame = read(spark, lake, "track_vectors", two[0].batch_id)
    assert batch_of(frame.where("support > 0").select("item_id")) == two[0].batch_id


def test_frames_of_two_batches_are_not_joined(spark, lake, two):
    ours, theirs = (read(spark, lake, "track_vectors", batch) for batch in two)
    with pytest.raises(MixedBatchesError) as error:
        join(ours, theirs, on="item_id")
    assert all(batch.batch_id in str(error.value) for batch in two)
    assert join(ours, ours.select("item_id", "support"), on="item_id").count() == 1
