import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal

from schemas.arrow import list_column, matrix, microseconds, widens

MATRICES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.floats(width=32),
)


@given(MATRICES)
def test_a_matrix_comes_back_from_its_list_column(values):
    assert_array_equal(matrix(list_column(values)), values)


@given(MATRICES, st.data())
def test_a_slice_of_the_column_is_a_slice_of_the_matrix(values, data):
    first = data.draw(st.integers(0, len(values)))
    length = data.draw(st.integers(1, len(values)))
    column = list_column(values).slice(first, length)
    if len(column):
        assert_array_equal(matrix(column), values[first : first + length])


@given(MATRICES, MATRICES)
def test_chunks_are_put_together(left, right):
    right = np.resize(right, (len(right), left.shape[1]))
    column = pa.chunked_array([list_column(left), list_column(right)])
    assert_array_equal(matrix(column), np.vstack([left, right]))


def test_columns_are_lists_of_float32():
    assert list_column(np.zeros((2, 3))).type == pa.list_(pa.float32())
    assert list_column(np.zeros((2, 3), np.int64)).to_pylist() == [[0, 0, 0], [0, 0, 0]]


def test_no_rows_are_a_matrix_without_rows():
    assert len(list_column(np.zeros((0, 3)))) == 0
    assert matrix(list_column(np.zeros((0, 3)))).shape[0] == 0
    assert matrix(pa.chunked_array([], pa.list_(pa.float32()))).shape[0] == 0


def test_a_transposed_matrix_keeps_its_rows():
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert list_column(values).to_pylist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("rows", [[[1.0], [1.0, 2.0]], [[1.0], None], [[1.0, 2.0], []]])
def test_rows_that_are_not_of_one_length_are_refused(rows):
    with pytest.raises(ValueError, match="same length"):
        matrix(pa.array(rows, pa.list_(pa.float32())))


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (pa.int32(), pa.int64()),
        (pa.float32(), pa.float64()),
        (pa.list_(pa.float32()), pa.list_(pa.float64())),
        (pa.string(), pa.string()),
    ],
)
def test_a_type_widens_to_one_that_holds_all_its_values(narrow, wide):
    assert widens(narrow, wide)
    assert widens(wide, narrow) == (narrow == wide)


def test_other_types_do_not_widen():
    assert not widens(pa.int64(), pa.float64())
    assert not widens(pa.int32(), pa.string())
    assert not widens(pa.list_(pa.int32()), pa.int64())


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_times_are_microseconds_whatever_unit_they_came_in(unit):
    times = pa.chunked_array(
        [pa.array([0, 1], pa.timestamp("s", tz="UTC")).cast(pa.timestamp(unit, tz="UTC"))]
    )
    assert microseconds(times).to_pylist() == [0, 1_000_000]
