import numpy as np
import pytest

from evaluation.head import Head, best_threshold, fit_head, scaled
from evaluation.pairs import Pairs
from models.baselines import Representation

USERS, ITEMS, SIZE = 60, 40, 6


def world(seed: int = 0) -> Representation:
    rng = np.random.default_rng(seed)
    return Representation(
        rng.standard_normal((USERS, SIZE)).astype(np.float32),
        rng.standard_normal((ITEMS, SIZE)).astype(np.float32),
    )


def asked(score: np.ndarray) -> Pairs:
    """Ten items for each user; the five of the highest score were played."""
    rng = np.random.default_rng(1)
    item = np.stack([rng.choice(ITEMS, 10, replace=False) for _ in range(USERS)])
    user = np.repeat(np.arange(USERS), 10).reshape(item.shape)
    own = score[user, item]
    played = own >= np.sort(own, axis=1)[:, [5]]
    return Pairs(user.ravel(), item.ravel(), played.ravel())


def right(head: Head, known: Representation, pairs: Pairs) -> float:
    return float(((head.logits(known, pairs) > head.threshold) == pairs.played).mean())


def test_a_dot_product_that_is_right_is_kept():
    known = scaled(world())
    pairs = asked(known.users @ known.items.T)
    head = fit_head(known, pairs, np.random.default_rng(0))
    assert right(head, known, pairs) > 0.85  # a user's own threshold no head can know
    assert (head.product > 0).all()


def test_dimensions_that_say_nothing_are_turned_down():
    known = scaled(world())
    pairs = asked(known.users[:, :2] @ known.items[:, :2].T)
    head = fit_head(known, pairs, np.random.default_rng(0))
    assert head.product[:2].min() > 3 * np.abs(head.product[2:]).max()


def test_what_is_in_fashion_is_learned_from_the_items():
    known = scaled(world())
    pairs = asked(np.tile(known.items[:, 0], (USERS, 1)))
    head = fit_head(known, pairs, np.random.default_rng(0))
    assert right(head, known, pairs) > 0.9
    assert head.item[0] > 5 * np.abs(head.item[1:]).max()


def test_the_ranking_is_that_of_the_logits():
    known = scaled(world())
    pairs = asked(known.users @ known.items.T)
    head = fit_head(known, pairs, np.random.default_rng(0))
    every = Pairs(np.full(ITEMS, 3), np.arange(ITEMS), np.ones(ITEMS, bool))
    logits, ranks = head.logits(known, every), head.ranking(known, np.array([3]))[0]
    np.testing.assert_allclose(logits - logits[0], ranks - ranks[0], atol=1e-4)


def test_scales_of_a_representation_change_nothing():
    known = world()
    twice = Representation(known.users * 20, known.items / 7)
    for one, other in zip(scaled(known), scaled(twice), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize(
    ("scores", "played", "low", "high"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.2, 0.8),
        ([0.1, 0.2, 0.3], [1, 1, 1], -1.0, 0.1),
        ([0.1, 0.2, 0.3], [0, 0, 0], 0.3, 0.3001),
        ([0.5, 0.5, 0.5, 0.9], [0, 1, 0, 1], 0.5, 0.9),
    ],
)
def test_the_threshold_lies_where_most_answers_are_right(scores, played, low, high):
    found = best_threshold(np.array(scores), np.array(played, bool), np.ones(len(scores)))
    assert low <= found < high
