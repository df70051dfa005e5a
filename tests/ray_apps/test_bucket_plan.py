import pytest

from ray_apps.bucket_plan import BucketPlan, Record


@pytest.fixture(scope="module", params=[True, False], ids=["a file each", "in one file"])
def ready(new_world, request):
    found = new_world(by_bucket=request.param)
    found.has_a_model()
    return found, request.param


@pytest.fixture
def plan(ready):
    world, _ = ready
    return BucketPlan(world.lake, world.batch, "float32")


def test_buckets_are_told_with_their_users(plan, ready):
    assert plan.one_to_a_file is ready[1]
    assert {bucket.number: bucket.rows for bucket in plan.buckets} == dict.fromkeys(range(4), 15)


def test_the_log_alone_says_how_large_buckets_are(plan, ready):
    world, by_bucket = ready
    if not by_bucket:
        return
    files = world.lake.files("user_features", world.batch)
    assert sum(bucket.size for bucket in plan.buckets) == sum(
        map(world.lake.filesystem.size, files)
    )
    sizes = [bucket.size for bucket in plan.buckets]
    assert sizes == sorted(sizes, reverse=True)


def test_a_bucket_is_missing_until_it_has_a_record(plan):
    assert len(plan.missing()) == 4
    assert plan.records() == {}
    record = Record(bucket=2, rows=15, embedded=15, files=(plan.file(2),), written=100)
    for _ in range(2):
        plan.record(record)
    assert plan.records() == {2: record}
    assert sorted(bucket.number for bucket in plan.missing()) == [0, 1, 3]


def test_what_was_made_of_others_does_not_count(plan, ready):
    world, _ = ready
    plan.record(Record(bucket=1))
    batch = world.batch
    others = [
        BucketPlan(world.lake, batch, "bfloat16"),
        BucketPlan(world.lake, batch.model_copy(update={"model_sha256": "other"}), "float32"),
    ]
    for other in others:
        assert len(other.missing()) == 4
        assert other.file(1) != plan.file(1)
    assert BucketPlan(world.lake, batch, "float32").file(1) == plan.file(1)
