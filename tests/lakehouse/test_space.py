import numpy as np
import pyarrow as pa
import pytest

from lakehouse import space
from schemas.errors import MixedBatchesError


def test_what_is_read_knows_its_batch(lake, two):
    for batch in two:
        assert space.batch_of(lake.read("track_vectors", batch)) == batch.batch_id
        without = lake.read("track_vectors", batch, columns=["item_id", "vector"])
        assert space.batch_of(without.slice(2)) == batch.batch_id


def test_rows_of_two_batches_in_one_table_are_found_out(two, track_vectors):
    mixed = pa.concat_tables([track_vectors(batch.batch_id) for batch in two])
    with pytest.raises(MixedBatchesError):
        space.batch_of(mixed)


@pytest.mark.parametrize("meet", [space.similarity, lambda a, b: space.join(a, b, "item_id")])
def test_vectors_of_two_batches_never_meet(lake, two, meet):
    ours, theirs = (lake.read("track_vectors", batch) for batch in two)
    with pytest.raises(MixedBatchesError) as error:
        meet(ours, theirs)
    assert all(batch.batch_id in str(error.value) for batch in two)


def test_vectors_of_one_batch_are_compared(lake, two):
    rows = lake.read("track_vectors", two[0])
    scores = space.similarity(rows, rows)
    np.testing.assert_allclose(np.diag(scores), 1.0, atol=1e-6)
    joined = space.join(rows, rows.select(["item_id", "support"]), "item_id")
    assert joined.num_rows == 6
    assert space.batch_of(joined) == two[0].batch_id
