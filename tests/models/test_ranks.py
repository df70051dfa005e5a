import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.ranks import first_of_each

ENTRIES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)), max_size=30)


@given(ENTRIES, st.integers(0, 5))
def test_each_owner_keeps_what_sorting_puts_first(entries, most):
    owner, key, tie = (np.array([row[side] for row in entries], np.int64) for side in range(3))
    found = first_of_each(owner, most, key, tie)
    expected = []
    for whose in sorted(set(owner.tolist())):
        mine = [place for place, row in enumerate(entries) if row[0] == whose]
        expected += sorted(mine, key=lambda place: entries[place][1:])[:most]
    assert found.tolist() == expected
