import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.picks import FAVOURITES, favourites

PLAYS = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 6)), max_size=40)


def test_favourites_are_the_most_played_and_of_equals_the_first():
    owner = np.array([3, 3, 3, 3, 3, 3, 0, 0])
    creator = np.array([5, 5, 2, 9, 1, -1, -1, 4])
    whose, picked = favourites(owner, creator)
    assert whose.tolist() == [0, 3, 3, 3]
    assert picked.tolist() == [4, 5, 1, 2]


@given(PLAYS)
def test_nobody_gets_more_than_so_many_nor_what_was_not_played(plays):
    owner, creator = (np.array([row[side] for row in plays], np.int64) for side in (0, 1))
    found = list(zip(*(side.tolist() for side in favourites(owner, creator)), strict=True))
    assert len(set(found)) == len(found)
    for whose in range(5):
        played = {row[1] for row in plays if row[0] == whose and row[1] >= 0}
        mine = {picked for one, picked in found if one == whose}
        assert mine <= played
        assert len(mine) == min(FAVOURITES, len(played))
