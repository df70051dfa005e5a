import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.nrt_gate import JUMPED, NOT_FINITE, NOT_UNIT, Made, VectorGate

EAST, NORTH = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
GATE = VectorGate(0.2)


def fault(vector, before=EAST, fresh=1, counted=100):
    return GATE.faults([Made(np.array(vector, np.float32), before, fresh, counted)])[0]


def test_a_vector_like_the_one_before_passes():
    assert fault(EAST) is None


def test_what_is_no_direction_is_held():
    assert fault([np.nan, 1.0]) == NOT_FINITE
    assert fault([np.inf, 1.0]) == NOT_FINITE
    assert fault([0.0, 0.0]) == NOT_UNIT
    assert fault([1.1, 0.0]) == NOT_UNIT


def test_a_first_vector_has_nothing_to_jump_from():
    assert fault(NORTH, before=None) is None


def test_one_play_of_a_hundred_may_not_turn_a_vector_round():
    assert fault(NORTH) == JUMPED
    assert fault(NORTH, fresh=40) is None
    assert fault(NORTH, fresh=1, counted=2) is None


@given(fresh=st.integers(0, 500), more=st.integers(1, 500), rest=st.integers(0, 500))
def test_more_evidence_never_allows_less(fresh, more, rest):
    assert GATE.allowed(fresh + more, rest + fresh + more) >= GATE.allowed(fresh, rest + fresh)
