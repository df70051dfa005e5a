import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from jobs.catalogue import Catalogue
from jobs.cooccurrence import FOLDS, WHOLE
from jobs.pmi import PmiRows, flat, offsets
from models.item_vectors import positive_pmi

OWN = np.array([[1, 0], [1, 0], [0, 1]], np.float32)  # two items of one creator, one of another
BATCH = pa.RecordBatch.from_pydict(
    {
        "neighbours": pa.array([[1, 2, 1], None, [0]], pa.list_(pa.int32())),
        "folds": pa.array([[0, 0, 3], None, [3]], pa.list_(pa.int32())),
        "counts": pa.array([[2.0, 1.0, 4.0], None, [5.0]], pa.list_(pa.float32())),
    }
)
BY_FOLD = {
    WHOLE: [[6, 1], [0, 0], [5, 0]],
    0: [[4, 0], [0, 0], [5, 0]],
    3: [[2, 1], [0, 0], [0, 0]],
}


@pytest.fixture
def pmi() -> PmiRows:
    catalogue = Catalogue(
        own=sparse.csr_matrix(OWN),
        block=np.zeros(2, np.int64),
        is_creator=np.ones(2, bool),
        is_item=np.zeros(2, bool),
        support=np.zeros((3, FOLDS), np.int64),
    )
    totals = np.zeros((FOLDS, 2))
    totals[0], totals[3] = [2, 1], [9, 2]
    return PmiRows(catalogue, totals, shift=1.0, smoothing=0.75)


@pytest.mark.parametrize(("left_out", "total"), [(WHOLE, [11, 3]), (0, [9, 2]), (3, [2, 1])])
def test_rows_count_only_the_users_who_are_not_left_out(pmi, left_out, total):
    counts = sparse.csr_matrix(np.array(BY_FOLD[left_out], float))
    counts.eliminate_zeros()
    expected = positive_pmi(counts, np.array(total, float), np.zeros(2, np.int64), 1.0, 0.75)
    assert_allclose(pmi.rows(BATCH, left_out).toarray(), expected.toarray(), atol=1e-6)


def test_an_item_that_nobody_played_has_an_empty_row(pmi):
    assert pmi.rows(BATCH, WHOLE)[1].nnz == 0


def test_lists_are_flattened_without_their_nulls():
    assert flat(BATCH["counts"]).tolist() == [2, 1, 4, 5]
    assert offsets(BATCH["counts"]).tolist() == [0, 3, 3, 4]


def test_a_part_of_a_batch_is_read_as_that_part(pmi):
    whole, part = pmi.rows(BATCH, WHOLE).toarray(), pmi.rows(BATCH.slice(1), WHOLE).toarray()
    assert_allclose(part, whole[1:])
