import numpy as np
import pytest

from evaluation.contenders import BEST, MODEL
from evaluation.protocols.truth import METRIC, recovered
from models.baselines import Representation

USERS, GENRES, SIZE = 400, 3, 8


@pytest.fixture
def world():
    """True mixtures, and counts of few sessions of each user."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([0.5] * GENRES, USERS)
    return truth, np.stack([rng.multinomial(6, row) for row in truth]).astype(float)


def found(world, vectors: np.ndarray) -> dict[str, float]:
    items = np.zeros((1, vectors.shape[1]), np.float32)
    ours = Representation(vectors.astype(np.float32), items)
    rows = recovered(*world, {MODEL: lambda: ours}, 5, lambda _: None)
    return {row.representation: row.value for row in rows if row.metric == METRIC}


def test_vectors_that_turn_the_truth_tell_all_of_it(world):
    turn = np.random.default_rng(1).standard_normal((GENRES, SIZE))
    assert found(world, world[0] @ turn)[MODEL] > 0.99


def test_vectors_that_have_nothing_to_do_with_the_truth_tell_nothing(world):
    vectors = np.random.default_rng(2).standard_normal((USERS, SIZE))
    assert found(world, vectors)[MODEL] == pytest.approx(0, abs=0.05)


def test_six_sessions_tell_some_of_the_truth(world):
    vectors = np.zeros((USERS, SIZE))
    assert 0.4 < found(world, vectors)[BEST] < 0.95
