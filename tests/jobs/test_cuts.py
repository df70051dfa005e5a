import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.cuts import EARLY, choose_cuts
from models.events import DAY, HOUR

START = 20_500 * DAY
GAP, MOST, HORIZON = HOUR // 2, 2, 7.0

# Whole quarters of an hour make equal moments, sessions and silences likely.
MOMENTS = st.lists(
    st.integers(0, 3000).map(lambda quarters: START + quarters * HOUR // 4), max_size=12
)
HISTORIES = st.lists(MOMENTS, min_size=1, max_size=4)


def ordered(histories: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    user = np.repeat(np.arange(len(histories)), [len(own) for own in histories])
    return user, np.array([moment for own in histories for moment in sorted(own)], np.int64)


def cuts_of(histories: list[list[int]], most: int = MOST):
    user, at = ordered(histories)
    return user, at, choose_cuts(user, at, GAP, most, HORIZON)


@given(HISTORIES)
def test_every_cut_has_a_history_of_its_own_user_that_lies_before_it(histories):
    user, at, cuts = cuts_of(histories)
    for whose, start, cut in zip(cuts.user, cuts.start, cuts.at, strict=True):
        assert start <= cut
        assert (user[start:cut] == whose).all()
        assert start == 0 or user[start - 1] != whose
        assert (at[start:cut] < at[cut]).all()


@given(HISTORIES)
def test_the_targets_are_all_of_the_users_plays_within_the_horizon(histories):
    user, at, cuts = cuts_of(histories)
    for whose, cut, stop in zip(cuts.user, cuts.at, cuts.stop, strict=True):
        within = (user == whose) & (at >= at[cut]) & (at <= at[cut] + HORIZON * DAY)
        assert np.flatnonzero(within).tolist() == list(range(cut, stop))


@given(HISTORIES, st.integers(0, 3))
def test_of_each_user_so_many_sessions_and_so_many_other_plays_are_cuts(histories, most):
    user, at, cuts = cuts_of(histories, most)
    for whose in range(len(histories)):
        # The first play of a user has no history, nor has what was played at the same moment.
        later = [place for place in np.flatnonzero(user == whose)[1:] if at[place] > at[place - 1]]
        begins = {place for place in later if at[place] - at[place - 1] > GAP}
        mine = set(cuts.at[cuts.user == whose].tolist()) & set(later)
        # One of the first plays is a cut in any case, and may be one of these.
        assert len(mine & begins) - min(most, len(begins)) in (0, 1)
        assert len(mine - begins) - min(most, len(later) - len(begins)) in (0, 1)


@given(HISTORIES)
def test_no_two_cuts_of_a_user_are_at_the_same_moment(histories):
    _, at, cuts = cuts_of(histories, most=9)
    pairs = list(zip(cuts.user.tolist(), at[cuts.at].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


@given(HISTORIES)
def test_the_cuts_of_a_user_do_not_depend_on_the_others(histories):
    _, at, together = cuts_of(histories)
    for whose, own in enumerate(histories):
        _, own_at, alone = cuts_of([own])
        mine = together.at[together.user == whose]
        assert at[mine].tolist() == own_at[alone.at].tolist()


def test_the_first_play_after_a_silence_is_a_cut_as_the_very_first_is():
    _, _, cuts = cuts_of([[START, START + HOUR]], most=1)
    assert (cuts.start.tolist(), cuts.at.tolist(), cuts.stop.tolist()) == ([0, 0], [0, 1], [2, 2])


@given(HISTORIES)
def test_how_a_user_came_is_learned_from_the_first_play_and_one_of_the_next(histories):
    _, _, cuts = cuts_of(histories, most=0)
    for whose, own in enumerate(histories):
        mine = cuts.take(np.flatnonzero(cuts.user == whose))
        seen = (mine.at - mine.start).tolist()
        early = sorted(own)[: EARLY + 1]
        others = {place for place in range(1, len(early)) if early[place] > early[place - 1]}
        assert seen[:1] == [0] * bool(own)
        assert len(seen[1:]) == bool(others)
        assert set(seen[1:]) <= others


def test_without_plays_there_are_no_cuts():
    _, _, cuts = cuts_of([[]])
    assert len(cuts.at) == 0
