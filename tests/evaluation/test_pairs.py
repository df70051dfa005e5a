import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluation.pairs import Pairs, Question, draw_pairs, shuffled

ITEMS = 8


def question(positives: list, excluded: list, weight: list | None = None) -> Question:
    own, played = ([np.array(items, np.int64) for items in side] for side in (positives, excluded))
    return Question(own, played, np.array(weight or [1.0] * ITEMS))


@given(st.sets(st.integers(0, ITEMS - 1), min_size=1), st.integers(0, 5))
def test_what_was_played_is_never_a_negative(played, seed):
    own = sorted(played)[:1]
    pairs = draw_pairs(question([own], [sorted(played)]), 5, np.random.default_rng(seed))
    assert not set(pairs.item[~pairs.played]) & played
    assert set(pairs.item[pairs.played]) <= set(own)


def test_negatives_come_as_often_as_their_weight_says():
    weight = [0, 0, 1, 3, 0, 0, 0, 0]
    pairs = draw_pairs(question([[0]], [[0]], weight), 4000, np.random.default_rng(0))
    drawn = np.bincount(pairs.item[~pairs.played], minlength=ITEMS)
    assert drawn[[0, 1, 4, 5, 6, 7]].sum() == 0
    assert abs(drawn[3] / drawn.sum() - 0.75) < 0.03


def test_who_has_no_future_or_played_everything_is_not_asked():
    everything = list(range(ITEMS))
    asked = draw_pairs(question([[], [1]], [[], everything]), 5, np.random.default_rng(0))
    assert len(asked.user) == 0


def test_every_user_counts_one_and_half_of_it_is_what_was_played():
    pairs = Pairs(np.array([0, 0, 0, 1, 1]), np.arange(5), np.array([1, 0, 0, 1, 0], bool))
    assert pairs.weight().tolist() == [0.5, 0.25, 0.25, 0.5, 0.5]


def test_no_user_has_more_pairs_than_wanted_of_either_answer():
    user, played = np.repeat([0, 1], 20), np.tile([True, False], 20)
    few = Pairs(user, np.arange(40), played).at_most(3, np.random.default_rng(0))
    assert np.bincount(few.user * 2 + few.played).tolist() == [3, 3, 3, 3]
    assert (np.diff(few.user) >= 0).all()


def test_shuffled_futures_come_out_of_one_pot_and_not_from_the_past():
    one = question([[0, 1], [2, 3], [4]], [[0, 1, 5], [2, 3], [4]])
    other = shuffled(one, np.random.default_rng(1))
    assert other.weight.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    for row, (own, now) in enumerate(zip(one.positives, other.positives, strict=True)):
        assert len(now) <= len(own)
        assert not set(now) & set(one.excluded[row])
    assert any(len(now) for now in other.positives)
