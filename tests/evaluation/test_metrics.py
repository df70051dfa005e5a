import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import auc, bootstrap_interval, highest, ndcg

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12).map(np.array)


def pairs_won(positive: np.ndarray, negative: np.ndarray) -> float:
    """The definition: every pair looked at, ties counting half."""
    won = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    return float(won.mean())


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([2.0], [1.0], 1.0),
        ([1.0], [2.0], 0.0),
        ([1.0], [1.0], 0.5),
        ([3.0, 1.0], [2.0, 0.0], 0.75),
        ([2.0, 1.0], [2.0, 2.0, 0.0], (0.5 + 0.5 + 1 + 0 + 0 + 1) / 6),
    ],
)
def test_auc_by_hand(positive, negative, expected):
    assert auc(np.array(positive), np.array(negative)) == pytest.approx(expected)


@given(SCORES, SCORES)
def test_auc_is_the_share_of_pairs_won(positive, negative):
    assert auc(positive, negative) == pytest.approx(pairs_won(positive, negative))


@given(SCORES, SCORES)
def test_auc_of_the_other_side_is_what_is_left_to_one(positive, negative):
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1.0)


@given(SCORES, SCORES)
def test_only_the_order_of_the_scores_counts(positive, negative):
    assert auc(np.exp(positive), np.exp(negative)) == pytest.approx(auc(positive, negative))


def test_the_highest_come_first_and_what_is_left_out_never():
    scores = np.array([0.1, -np.inf, 3.0, 2.0])
    np.testing.assert_array_equal(highest(scores, 2), [2, 3])
    np.testing.assert_array_equal(highest(scores, 50), [2, 3, 0])


@given(SCORES, st.integers(1, 15))
def test_the_highest_are_what_sorting_puts_first(scores, most):
    np.testing.assert_array_equal(scores[highest(scores, most)], np.sort(scores)[::-1][:most])


@given(SCORES, st.integers(1, 15))
def test_equals_come_in_order_of_their_places(scores, most):
    expected = np.argsort(-scores, kind="stable")[:most]
    np.testing.assert_array_equal(highest(scores, most), expected)


def test_the_interval_holds_the_mean_and_shrinks_with_more_users():
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)
    few, many = bootstrap_interval(values[:40], seed=1), bootstrap_interval(values, seed=1)
    for (low, high), of in ((few, values[:40]), (many, values)):
        assert low < of.mean() < high
    assert many[1] - many[0] < few[1] - few[0]


def test_a_95_percent_interval_covers_the_truth_about_95_times_in_a_hundred():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(0.0, 1.0, 60), seed=0, resamples=300)
        covered += low <= 0.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_wider_level_gives_a_wider_interval():
    values = np.arange(20.0)
    low, high = bootstrap_interval(values, seed=0, level=0.5)
    wide_low, wide_high = bootstrap_interval(values, seed=0, level=0.99)
    assert wide_low < low < high < wide_high


def test_the_interval_is_seeded():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


def test_equal_values_leave_no_doubt():
    assert bootstrap_interval(np.full(9, 0.25), seed=0) == (0.25, 0.25)


def test_other_figures_than_the_mean_have_intervals_too():
    values = np.r_[np.zeros(50), np.full(49, 1.0), 1000.0]
    low, high = bootstrap_interval(values, seed=0, of=np.median)
    assert (low, high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("hits", "wanted", "value"),
    [
        ([1, 1, 0], 2, 1.0),
        ([0, 0, 0], 2, 0.0),
        ([0, 1], 1, 1 / np.log2(3)),
        ([1, 0, 1], 5, (1 + 0.5) / (1 + 1 / np.log2(3) + 0.5)),
    ],
)
def test_gain_is_discounted_and_normalised_by_what_could_be_had(hits, wanted, value):
    assert ndcg(np.array(hits, bool), wanted) == pytest.approx(value)
