import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.plays import in_time

SMALL = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(-9, 9)), max_size=30)


def arrays(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row[place] for row in rows], np.int64) for place in range(3))


@given(SMALL)
def test_plays_are_ordered_by_user_then_time_then_tie(rows):
    order = in_time(*arrays(rows))
    assert [rows[place] for place in order] == sorted(rows)


@given(SMALL)
def test_times_that_are_centuries_apart_are_ordered_alike(rows):
    user, at, tie = arrays(rows)
    far = at * (np.iinfo(np.int64).max // 5)
    order = in_time(user, far, tie)
    assert [rows[place] for place in order] == sorted(rows)
