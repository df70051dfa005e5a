import numpy as np
from numpy.testing import assert_allclose

from models.sums import weighted_sums

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_each_owner_has_the_weighted_sum_of_his_rows():
    found = weighted_sums(
        MATRIX, np.array([0, 3, 3]), np.array([0, 0, 2]), np.array([1.0, 0.5, 2.0]), owners=4
    )
    expected = [MATRIX[0] + MATRIX[3] / 2, np.zeros(3), 2 * MATRIX[3], np.zeros(3)]
    assert_allclose(found, expected)


def test_without_rows_all_sums_are_zero():
    nothing = np.zeros(0, np.int64)
    assert weighted_sums(MATRIX, nothing, nothing, nothing, owners=2).tolist() == [[0] * 3] * 2


def test_a_matrix_without_rows_gives_zeros():
    nothing = np.zeros(0, np.int64)
    empty = np.zeros((0, 3), np.float32)
    assert weighted_sums(empty, nothing, nothing, nothing, owners=1).shape == (1, 3)


def test_a_mapped_matrix_is_read_where_it_lies(tmp_path):
    np.save(tmp_path / "m.npy", MATRIX)
    mapped = np.load(tmp_path / "m.npy", mmap_mode="c")
    one = np.array([2]), np.array([0]), np.array([1.0])
    assert weighted_sums(mapped, *one, owners=1).tolist() == [MATRIX[2].tolist()]
