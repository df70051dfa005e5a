import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.fingerprint import ROWS_AT_ONCE, fingerprints

ROWS, WIDTH, GROUPS = 3, 7, 2
PINNED = [1600079205530943262, 3172196151852781359]


def rows(seed: int, count: int = ROWS, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    present = rng.integers(0, 2, (count, GROUPS)).astype(np.float32)
    return rng.standard_normal((count, width)).astype(np.float32), present


def test_the_sums_of_a_row_are_these_for_ever():
    features = np.arange(8, dtype=np.float32).reshape(2, 4)
    present = np.ones((2, 1), np.float32)
    assert fingerprints(features, present).tolist() == PINNED


@given(st.integers(0, 2**32 - 1), st.data())
def test_a_change_of_any_bits_of_a_row_is_seen_in_its_sum_alone(seed, data):
    features, present = rows(seed)
    before = fingerprints(features, present)
    assert (fingerprints(features.copy(), present.copy()) == before).all()
    bits = features.view(np.uint32)
    column = st.integers(0, WIDTH - 1)
    mask = st.integers(1, 2**32 - 1)
    for place, change in data.draw(st.dictionaries(column, mask, min_size=1)).items():
        bits[1, place] ^= np.uint32(change)
    assert (fingerprints(features, present) == before).tolist() == [True, False, True]


def test_signs_that_change_in_pairs_are_seen():
    features, present = rows(1)
    before = fingerprints(features, present)
    features[0, [1, 3]] *= -1
    features[1, [0, 2]] *= -1
    assert not (fingerprints(features, present)[:2] == before[:2]).any()


def test_presence_counts_too():
    features, present = rows(2)
    other = present.copy()
    other[0, 1] = 1 - other[0, 1]
    assert (fingerprints(features, present) == fingerprints(features, other)).tolist() == [
        False,
        True,
        True,
    ]


def test_a_row_has_the_same_sum_wherever_it_stands_among_others():
    features, present = rows(3, count=ROWS_AT_ONCE + 5, width=WIDTH + 1)
    whole = fingerprints(features, present)
    assert len(np.unique(whole)) == len(features)
    order = np.random.default_rng(0).permutation(len(features))
    assert (fingerprints(features[order], present[order]) == whole[order]).all()


def test_nobody_has_no_sums():
    features, present = rows(0, count=0)
    assert fingerprints(features, present).shape == (0,)
