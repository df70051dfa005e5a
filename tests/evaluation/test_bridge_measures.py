import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import ortho_group

from evaluation.bridge import fitted_trial
from evaluation.bridge_measures import (
    BRIDGE,
    NEW,
    NO_BRIDGE,
    OLD,
    Pairs,
    compared,
    cosines,
    future_aucs,
    genre_aucs,
    genres_played,
    measures,
    nearest_among,
    neighbours_kept,
    overlap,
    ridge,
)
from models.layout import VECTOR_SIZE

TURN = ortho_group.rvs(VECTOR_SIZE, random_state=1)


def people(turn: np.ndarray, noise: float = 0.0, count: int = 60) -> Pairs:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(count, len(turn)))
    old /= np.linalg.norm(old, axis=1, keepdims=True)
    new = old + noise * rng.normal(size=old.shape)
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    return Pairs(np.arange(count).astype(str), new @ turn.T, old)


@pytest.fixture
def trial(lake, two_spaces):
    """Two spaces of the same listeners, one turned and a little noisy."""
    old, new = two_spaces(turn=TURN, noise=0.2)
    return fitted_trial(lake, lake.batch(new.batch_id), lake.batch(old.batch_id))


def test_through_the_right_bridge_every_vector_is_where_it_was():
    turn = ortho_group.rvs(16, random_state=0)
    assert_allclose(cosines(people(turn), turn)[BRIDGE], 1.0)
    assert abs(cosines(people(turn), turn)[NO_BRIDGE].mean()) < 0.5


def test_through_the_right_bridge_all_neighbours_are_found_and_without_one_few_are():
    turn = ortho_group.rvs(16, random_state=0)
    found = neighbours_kept(people(turn), turn)
    assert (found[BRIDGE] == 1).all()
    assert found[NO_BRIDGE].mean() < 0.4


def test_no_rotation_changes_who_is_near_whom_within_the_new_space():
    turn, other = (ortho_group.rvs(16, random_state=seed) for seed in (0, 1))
    side = people(turn, noise=0.2)
    assert_allclose(neighbours_kept(side, turn)[NEW], neighbours_kept(side, other)[NEW])
    assert 0 < neighbours_kept(side, turn)[NEW].mean() < 1


def test_ten_neighbours_of_ten_users_are_not_looked_for():
    assert neighbours_kept(people(np.eye(4), count=10), np.eye(4)) == {}


def test_nobody_is_a_neighbour_of_oneself():
    index = np.eye(3)
    assert 0 not in nearest_among(index, index, 2)[0]


def test_the_overlap_counts_what_was_wanted_in_any_order():
    found = overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 5]]))
    assert found.tolist() == [1.0, 0.5]


def test_a_loss_is_of_the_same_users_and_only_against_the_old_vectors():
    found = compared({OLD: np.array([0.9, 0.7]), BRIDGE: np.array([0.8, 0.6])}, seed=0)
    assert found["users"] == 2
    old, bridge = found["rows"]
    assert "loss" not in old
    assert bridge["loss"] == pytest.approx(0.1)
    assert bridge["loss_interval"] == pytest.approx((0.1, 0.1))
    assert "loss" not in compared({BRIDGE: np.ones(2)}, seed=0)["rows"][0]


def test_a_consumer_of_the_old_tracks_foretells_plays_through_the_bridge(lake, trial):
    found = {name: aucs.mean() for name, aucs in future_aucs(lake, trial, 7.0, seed=0).items()}
    assert found[OLD] > 0.9
    assert found[BRIDGE] > found[OLD] - 0.02
    assert found[NO_BRIDGE] < 0.7
    assert found[NEW] > 0.9


def test_only_users_that_were_held_out_are_asked(lake, trial):
    aucs = future_aucs(lake, trial, 7.0, seed=0)
    assert {len(values) for values in aucs.values()} == {len(trial.tested.ids)}


def test_a_model_of_genres_that_saw_old_vectors_works_through_the_bridge(lake, trial):
    found = {name: aucs.mean() for name, aucs in genre_aucs(lake, trial).items()}
    assert found[OLD] > 0.95
    assert found[BRIDGE] > 0.95
    assert found[NO_BRIDGE] < 0.7


def test_genres_are_those_played_before_the_batchs_moment(lake, trial):
    played = genres_played(lake, trial.old, np.array(["u0", "u1", "u6", "stranger"]))
    assert played.shape == (4, 2)  # g0 and g1: what nobody of them plays is no genre here
    assert played.sum(axis=1).tolist() == [1, 1, 1, 0]
    assert (played[1] == played[2]).all()


def test_a_ridge_finds_a_line_through_many_points():
    vectors = np.random.default_rng(0).normal(size=(2000, 3))
    line = np.array([[1.0], [-2.0], [0.5]])
    assert_allclose(ridge(vectors, vectors @ line), line, atol=1e-2)


def test_where_nobody_played_later_the_other_measures_remain(lake, trial):
    found = measures(lake, trial, horizon_days=0.0, seed=0)
    assert set(found) == {"cosine", "neighbours", "genres"}
