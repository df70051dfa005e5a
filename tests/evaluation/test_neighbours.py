import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evaluation import neighbours
from evaluation.neighbours import nearest_first, nearest_users

AXES = np.eye(4, dtype=np.float32)


def test_the_nearest_come_first_and_never_oneself():
    vectors = np.array([[1, 0], [3, 0.3], [1, 1], [-1, 0]], np.float32)
    assert_array_equal(nearest_first(vectors, np.array([0, 3]), 2), [[1, 2], [2, 1]])


def test_equals_come_by_row():
    vectors = AXES[[0, 1, 0, 1, 0]]
    assert_array_equal(nearest_first(vectors, np.array([1, 4]), 4), [[3, 0, 2, 4], [0, 2, 1, 3]])


def test_there_are_no_more_neighbours_than_others():
    assert nearest_first(AXES, np.arange(4), 50).shape == (4, 3)
    assert nearest_first(AXES[:1], np.arange(1), 50).shape == (1, 0)


def test_blocks_change_nothing(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    whole = nearest_first(vectors, np.arange(30), 5)
    monkeypatch.setattr(neighbours, "AT_ONCE", 7)
    assert_array_equal(nearest_first(vectors, np.arange(30), 5), whole)


def test_listeners_are_shown_by_what_they_play_and_not_by_id(lake, two_spaces):
    live = two_spaces(users=20)[1]
    shown = nearest_users(lake, live, how_many=2, count=3)
    assert len(shown) == 2
    for one in shown:
        cosines = [near["cosine"] for near in one["neighbours"]]
        assert cosines == sorted(cosines, reverse=True)
        assert len(cosines) == 3
        # Users of one genre play the same ten tracks, which the fixture gives no creators.
        assert cosines[0] == pytest.approx(1, abs=0.3)
        told = [one["plays"], *(near["plays"] for near in one["neighbours"])]
        assert all(name.startswith("t") for plays in told for name in plays.split(", "))
