import numpy as np
import pyarrow as pa
from numpy.testing import assert_array_equal
from scipy import sparse

from jobs.catalogue import Catalogue
from jobs.cooccurrence import FOLDS, VARIANTS
from jobs.met import met_in, told
from models.layout import VECTOR_SIZE


def test_vectors_and_the_plays_behind_each_variant_come_back_as_they_were_told():
    support = np.arange(3 * FOLDS).reshape(3, FOLDS)
    nothing = np.zeros(0, bool)
    own = sparse.csr_matrix((3, 0), dtype=np.float32)
    catalogue = Catalogue(own, nothing.astype(int), nothing, nothing, support)
    batch = pa.RecordBatch.from_pydict(
        {"item_id": ["c", "a"], "item": pa.array([2, 0], pa.int32())}
    )
    given = (
        np.random.default_rng(0).standard_normal((2, len(VARIANTS), VECTOR_SIZE)).astype(np.float32)
    )
    row = told(batch, given, catalogue)
    vectors, supports = met_in(row)
    assert row["item_id"].to_pylist() == ["c", "a"]
    assert_array_equal(vectors, given)
    assert_array_equal(supports[0], [60, 50, 49, 48, 47, 46])
    assert_array_equal(supports[1], [10, 10, 9, 8, 7, 6])
