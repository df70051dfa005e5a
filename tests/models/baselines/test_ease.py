import numpy as np
import pytest

from models.baselines.ease import EASE

PENALTY = 10.0


def scores(played: np.ndarray) -> np.ndarray:
    """X·B as the paper writes it."""
    inverse = np.linalg.inv(played.T @ played + PENALTY * np.eye(played.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return played @ weights


@pytest.fixture
def played(communities) -> np.ndarray:
    return (communities().counts().toarray() > 0).astype(np.float64)


def test_with_as_many_numbers_as_the_scores_have_ranks_nothing_is_lost(communities, played):
    users, items = EASE(size=64, penalty=PENALTY).fit(communities(), 0)
    np.testing.assert_allclose(users @ items.T, scores(played), atol=1e-4)


def test_both_sides_give_the_same_scores(communities, played):
    """With 59 users and 40 items both may be inverted, and both are the paper's."""
    sparse_played = communities().counts()
    sparse_played.data[:] = 1
    model = EASE(penalty=PENALTY)
    for product in (model.by_users(sparse_played), model.by_items(sparse_played)):
        found = product.right(np.eye(played.shape[1]))
        np.testing.assert_allclose(found, scores(played), atol=1e-8)
        np.testing.assert_allclose(product.left(np.eye(len(played))), scores(played).T, atol=1e-8)


def test_fewer_numbers_keep_the_best_approximation(communities, played):
    users, items = EASE(size=5, penalty=PENALTY).fit(communities(), 0)
    left, scale, right = np.linalg.svd(scores(played))
    best = left[:, :5] * scale[:5] @ right[:5]
    np.testing.assert_allclose(users @ items.T, best, atol=1e-3)


def test_of_more_users_and_items_than_fit_the_most_played_items_are_learned(communities, played):
    _, items = EASE(size=16, penalty=PENALTY, most_items=30).fit(communities(), 0)
    listeners = played.sum(axis=0)
    kept = items.any(axis=1)
    assert kept.sum() == 30
    assert listeners[kept].min() >= listeners[~kept].max()
