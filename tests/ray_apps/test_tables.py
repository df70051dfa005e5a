import pytest

from ray_apps.tables import join, read
from schemas.errors import MixedBatchesError

pytestmark = pytest.mark.ray


@pytest.fixture
def two(world):
    """Two batches that have published the same features each."""
    return [batch.batch_id for batch in world.registry.list()]


@pytest.mark.usefixtures("ray_cluster")
def test_a_batch_reads_its_own_rows_and_each_says_whose_it_is(world, two):
    for batch_id in two:
        rows = read(world.lake, "user_features", batch_id, columns=["user_id"]).take_all()
        assert len(rows) == len(world.users)
        assert {row["batch_id"] for row in rows} == {batch_id}


@pytest.mark.usefixtures("ray_cluster")
def test_rows_of_two_batches_are_not_joined(world, two):
    ours, theirs = (read(world.lake, "user_features", batch_id) for batch_id in two)
    with pytest.raises(MixedBatchesError) as error:
        join(ours, theirs, on="user_id")
    assert all(batch_id in str(error.value) for batch_id in two)
