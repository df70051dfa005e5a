from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from models.baselines import Interactions


@pytest.fixture
def plays() -> Interactions:
    return Interactions(
        user=np.array([0, 0, 0, 2]),
        item=np.array([1, 1, 0, 3]),
        at=np.arange(4),
        users=4,
        items=5,
        user_tags=sparse.csr_array((4, 0), dtype=np.float32),
        item_tags=sparse.csr_array((5, 2), dtype=np.float32),
    )


def test_plays_are_counted_for_all_users_and_items(plays):
    counts = plays.counts()
    assert counts.dtype == np.float32
    assert counts.toarray().tolist() == [[1, 2, 0, 0, 0], [0] * 5, [0, 0, 0, 1, 0], [0] * 5]


def test_who_has_played_nothing(plays):
    assert plays.silent().tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": np.arange(3)}, "differ in length"),
        ({"user": np.array([0, 2, 0, 2])}, "users do not ascend"),
        ({"users": 2}, r"a user is not in 0\.\.1; user_tags"),
        ({"item": np.array([1, 1, -1, 3])}, r"an item is not in 0\.\.4"),
        ({"user_tags": sparse.csr_array((3, 0))}, "user_tags has not one row for each user"),
        ({"item_tags": sparse.csr_array((3, 0))}, "item_tags has not one row for each item"),
    ],
)
def test_plays_that_contradict_themselves_are_refused(plays, change, message):
    with pytest.raises(ValueError, match=message):
        replace(plays, **change)
