import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.state_bytes import StateBytes
from models.user_state import PICK, Profile, StateBuilder, UserState
from tests.models.test_features import BUILDER, CREATOR_OF_ITEM, LAYOUT
from tests.models.test_user_state import in_batch, online, require_same, some_plays

CODEC = StateBytes(LAYOUT)
SHORT = StateBuilder(BUILDER, CREATOR_OF_ITEM, window=20)


def test_a_state_comes_back_as_it_was():
    plays = some_plays(400)
    picks = np.zeros(2, PICK)
    picks["picked"] = [5, 6]
    profile = Profile((1, 0, -1), 1980.0, float("nan"))
    empty = UserState(plays[:0], np.zeros(0, np.int64), picks, None, profile, 3)
    state = SHORT.add(empty, plays)
    found = CODEC.decode(CODEC.encode(state))
    assert np.array_equal(found.plays, state.plays)
    assert np.array_equal(found.seen, state.seen)
    assert np.array_equal(found.picks, state.picks)
    assert found.profile.words == state.profile.words
    assert found.unpublished == 403
    assert CODEC.encode(found) == CODEC.encode(state)


@given(seed=st.integers(0, 99), count=st.integers(0, 300))
def test_a_restart_between_any_two_plays_changes_nothing(seed, count):
    plays = some_plays(count, seed)
    state = UserState.empty()
    for part in np.array_split(plays, 6):
        state = CODEC.decode(CODEC.encode(SHORT.add(state, part)))
    assert state.counted == count
    if count <= 20:
        require_same(online(state, SHORT), in_batch(plays))


def test_a_new_user_takes_few_bytes():
    assert len(CODEC.encode(UserState.empty())) < 64


def test_bytes_of_an_unknown_format_are_refused():
    with pytest.raises(ValueError, match="format"):
        CODEC.decode(b"\xff" + CODEC.encode(UserState.empty())[1:])
