import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models.events import DAY, Events, play_weight
from models.profiles import Told
from models.user_state import (
    MS_CAP,
    PICK,
    PLAY,
    SEEN,
    SLACK,
    Profile,
    StateBuilder,
    UserState,
    play_ms,
)
from tests.models.test_features import BUILDER, CREATOR_OF_ITEM, ITEMS, LAYOUT, MOMENT, group

WINDOW = 1_000
STATES = StateBuilder(BUILDER, CREATOR_OF_ITEM)
SHORT = 20  # a window that a few plays fill


def some_plays(count, seed=0, days=400.0):
    """Plays in order of time, every one of its own moment."""
    rng = np.random.default_rng(seed)
    plays = np.zeros(count, PLAY)
    plays["at"] = MOMENT - np.sort(rng.choice(int(days * 86_400), count, replace=False))[::-1] * (
        1_000_000
    )
    plays["event"] = rng.permutation(count) + 1
    plays["item"] = rng.integers(-1, ITEMS, count)
    plays["ms"] = rng.choice([0, 12_000, MS_CAP, 65_535], count)
    plays["kind"] = rng.integers(-1, 2, count)
    plays["surface"], plays["device"] = rng.integers(-1, 3, count), rng.integers(-1, 2, count)
    return plays


def in_batch(plays, moment=MOMENT + DAY):
    """The row that the batch job computes of the whole history."""
    ms = plays["ms"].astype(float)
    item = plays["item"].astype(int)
    events = Events(
        query=np.zeros(len(plays), np.int64),
        item=item,
        creator=np.append(CREATOR_OF_ITEM, -1)[item],
        at=plays["at"].astype(np.int64),
        weight=play_weight(np.where(ms == 65_535, np.nan, ms)),
        **{name: plays[name].astype(np.int64) for name in ("kind", "surface", "device")},
    )
    nothing = Told.of_rows(None, pa.array(["somebody"]), LAYOUT)
    moments = np.array([moment])
    return BUILDER.rows(events, nothing.at(np.zeros(1, np.int64), moments), moments)


def online(state, builder=STATES, moment=MOMENT + DAY):
    return builder.rows([state], np.array([moment]))


def require_same(found, expected):
    assert_allclose(found.features, expected.features, atol=1e-5)
    assert np.array_equal(found.present, expected.present)


def fed(parts, builder=STATES):
    state = UserState.empty()
    for part in parts:
        state = builder.add(state, part)
    return state


@given(
    count=st.integers(0, 60),
    seed=st.integers(0, 99),
    sizes=st.lists(st.integers(1, 9), min_size=1),
    again=st.floats(0, 1),
)
def test_plays_in_any_order_some_of_them_twice_make_the_row_of_the_batch(count, seed, sizes, again):
    plays = some_plays(count, seed)
    rng = np.random.default_rng(seed)
    stream = np.concatenate([plays, plays[rng.random(count) < again]])
    rng.shuffle(stream)
    cuts = np.cumsum(sizes * (len(stream) // sum(sizes) + 1))
    state = fed(np.split(stream, cuts[cuts < len(stream)]))
    require_same(online(state), in_batch(plays))
    assert state.counted == count


def test_a_history_that_is_longer_than_the_window_makes_the_row_of_the_batch():
    plays = some_plays(WINDOW * 3)
    state = fed(np.array_split(plays, 50))
    assert state.past is not None
    assert WINDOW <= len(state.plays) <= WINDOW + SLACK
    require_same(online(state), in_batch(plays))


def test_such_a_history_in_any_order_makes_the_row_of_the_batch():
    plays = some_plays(WINDOW * 3)
    stream = np.random.default_rng(1).permutation(plays)
    require_same(online(fed(np.array_split(stream, 50))), in_batch(plays))


def test_a_play_that_left_the_window_is_not_counted_again():
    plays = some_plays(WINDOW * 2)
    state = fed([plays])
    assert STATES.add(state, plays[:10]) is state
    assert len(state.seen) == WINDOW


def test_what_is_known_of_old_plays_is_bounded():
    builder = StateBuilder(BUILDER, CREATOR_OF_ITEM, window=SHORT)
    state = fed(np.array_split(some_plays(SEEN + 1_000), 20), builder)
    assert len(state.seen) == SEEN


def test_a_state_of_a_batch_and_the_plays_after_it_make_the_row_of_all():
    plays = some_plays(2_500)
    (state,) = STATES.begun([plays[:1_700]], [UserState.empty()])
    require_same(online(STATES.add(state, plays[1_500:])), in_batch(plays))
    assert state.unpublished == 0


def test_states_of_many_begin_at_once():
    histories = [some_plays(count, seed=count) for count in (0, 3, 1_400, 40, 1_001)]
    states = STATES.begun(histories, [UserState.empty()] * len(histories))
    moments = np.full(len(histories), MOMENT + DAY)
    together = STATES.rows(states, moments)
    for row, plays in enumerate(histories):
        expected = in_batch(plays)
        assert_allclose(together.features[row : row + 1], expected.features, atol=1e-5)
        assert np.array_equal(together.present[row : row + 1], expected.present)


def test_the_moment_of_a_row_may_be_any_later_one():
    plays = some_plays(50)
    require_same(online(fed([plays]), moment=MOMENT + 90 * DAY), in_batch(plays, MOMENT + 90 * DAY))


def test_a_pick_counts_from_its_moment_on_and_the_latest_of_one_thing():
    picks = np.zeros(3, PICK)
    picks["picked"], picks["at"] = [7, 8, 7], [MOMENT, MOMENT, MOMENT + 1]
    picks["item"], picks["creator"] = [1, -1, 2], [-1, 3, -1]
    state = STATES.add(UserState.empty(), picks=picks[:1])
    state = STATES.add(state, picks=picks[1:])
    assert sorted(state.picks["item"]) == [-1, 2]
    assert state.unpublished == 2
    assert STATES.add(state, picks=picks[2:]) is state
    before, after = (online(state, moment=moment).present[0] for moment in (MOMENT, MOMENT + DAY))
    column = LAYOUT.names.index("onboarding")
    assert (before[column], after[column]) == (0, 1)


def test_what_a_user_told_is_in_the_row():
    profile = Profile(words=(1, 0, -1), born=1990.0, registered=MOMENT - 10.0 * DAY)
    state = UserState(np.zeros(0, PLAY), np.zeros(0, np.int64), np.zeros(0, PICK), None, profile)
    found = online(state)
    assert group(found.features, "country")[0, 1] == 1
    assert group(found.features, "account_age")[0, 0] == pytest.approx(np.log1p(11), abs=1e-6)
    assert not found.present[0, LAYOUT.names.index("subscription")]


def test_a_play_is_kept_as_long_as_it_counts():
    assert play_ms(np.array([np.nan, 0.0, 12.0, 30_000.0, 9e6])).tolist() == [
        65_535,
        0,
        12,
        30_000,
        30_000,
    ]
