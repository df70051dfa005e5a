from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.testing import assert_allclose

from lakehouse.publish import publish_files
from ray_apps.bucket_plan import BucketPlan
from ray_apps.carried_vectors import Before, CarriedVectors
from ray_apps.embed_bucket import EmbedBucket
from schemas.arrow import matrix

TABLE = "user_embeddings"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


def embedded(world, **settings) -> dict[int, dict]:
    """What became of each bucket of a batch, which is then published."""
    actor = EmbedBucket(world.lake.uri, world.batch_id, **settings)
    batch = world.registry.to_write(world.batch_id)
    plan = BucketPlan(world.lake, batch, "float32")
    told = {one.number: actor({"bucket": one.number, "size": 0}) for one in plan.missing()}
    records = plan.records()
    files = [name for number in sorted(records) for name in records[number].files]
    publish_files(world.lake, TABLE, files, batch)
    return told


def stored(world) -> dict[str, np.ndarray]:
    rows = world.lake.read(TABLE, world.batch_id)
    assert len(set(rows["user_id"].to_pylist())) == rows.num_rows
    return dict(zip(rows["user_id"].to_pylist(), matrix(rows["embedding"]), strict=True))


@pytest.fixture
def world(new_world):
    """A live batch, embedded."""
    found = new_world(by_bucket=True)
    found.has_a_model()
    assert {told["embedded"] for told in embedded(found).values()} == {15}
    found.registry.record(found.batch_id, state="candidate", recipe={"embed": {}})
    found.registry.promote(found.batch_id)
    return found


def refreshed(world) -> None:
    """A day later: in bucket 1 one has changed, one has come and one has gone."""
    gone = world.users.index("u05")
    kept = [place for place in range(len(world.users)) if place != gone]
    features = world.features[[*kept, 0]].copy()
    features[kept.index(world.users.index("u01"))] = world.features[2]
    users = [*(world.users[place] for place in kept), "u61"]
    world.is_refreshed(users, features, world.present[[*kept, 0]])


def test_only_who_has_changed_is_embedded_and_the_rest_is_as_a_full_run_has_it(world):
    before = {name.rsplit("/", 1)[1] for name in world.lake.files(TABLE, world.batch)}
    refreshed(world)
    told = embedded(world)
    assert {bucket: one["embedded"] for bucket, one in told.items()} == {0: 0, 1: 2, 2: 0, 3: 0}
    assert {bucket: one["rows"] for bucket, one in told.items()} == dict.fromkeys(range(4), 15)
    assert [told[bucket]["written"] > 0 for bucket in range(4)] == [False, True, False, False]
    world.registry.end_refresh(world.batch_id, keep=True)
    after = {name.rsplit("/", 1)[1] for name in world.lake.files(TABLE, world.batch)}
    assert len(before & after) == 3  # carried over by reference
    expected = world.embeddings()
    found = stored(world)
    assert found.keys() == expected.keys()
    assert_allclose([found[user] for user in expected], list(expected.values()), atol=1e-6)


def test_a_vector_that_is_carried_over_keeps_its_moment(world):
    refreshed(world)
    embedded(world)
    world.registry.end_refresh(world.batch_id, keep=True)
    later = world.lake.read(TABLE, world.batch_id).filter(pc.field("as_of") > AS_OF)
    assert sorted(later["user_id"].to_pylist()) == ["u01", "u61"]


def test_a_full_run_embeds_everyone(world):
    refreshed(world)
    assert {told["embedded"] for told in embedded(world, carry=False).values()} == {15}


def test_nothing_is_carried_into_another_precision_or_without_a_refresh(world):
    batch = world.batch
    assert CarriedVectors.of(world.lake, batch, "float32") is None
    refreshed(world)
    writing = world.registry.to_write(world.batch_id)
    assert CarriedVectors.of(world.lake, writing, "float32") is not None
    assert CarriedVectors.of(world.lake, writing, "bfloat16") is None


def test_rows_without_a_fingerprint_are_embedded(world):
    refreshed(world)
    writing = world.registry.to_write(world.batch_id)
    before = CarriedVectors.of(world.lake, writing, "float32").open(0)
    part = before.rows.select(["user_id", "fingerprint"]).combine_chunks().to_batches()[0]
    assert before.find(part).tolist() == list(range(15))
    untold = before.rows.drop_columns(["fingerprint"]).append_column(
        "fingerprint", pa.nulls(15, pa.int64())
    )
    assert Before(untold, before.files).find(part).tolist() == [-1] * 15
