import numpy as np
import pytest

from evaluation import contenders
from evaluation.cohort import read_cohort
from evaluation.contenders import averages, learned, popularity, popularity_by, user_model
from models.baselines import BASELINES
from models.features import unit


@pytest.fixture
def cohort(lake, two_spaces):
    return read_cohort(lake, two_spaces(users=20)[1], 7, most=100, seed=0)


def test_ours_is_what_the_batch_has_published(lake, cohort):
    live = lake.batches.get("live")
    ours = user_model(lake, live, cohort)
    rows = {row["user_id"]: row["embedding"] for row in lake.read("user_embeddings").to_pylist()}
    for user, vector in zip(cohort.user_ids, ours.users, strict=True):
        np.testing.assert_allclose(vector, rows[user], rtol=1e-6)
    assert ours.items.shape == (50, 128)
    np.testing.assert_allclose(np.linalg.norm(ours.items, axis=1), 1, rtol=1e-5)


def test_an_average_is_that_of_what_was_played(cohort):
    found = averages(cohort, 128)
    assert set(found) == {"average", "average_7d", "average_30d", "average_180d"}
    own = cohort.past.item[cohort.past.user == 4]
    expected = unit(cohort.vectors[own].sum(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(found["average"].users[4, : len(expected)], expected, atol=1e-6)
    assert found["average"].users.shape == (20, 128)
    assert not np.allclose(found["average"].users[4], found["average_7d"].users[4], atol=1e-9)


def test_popularity_is_the_same_for_everybody(cohort):
    known = popularity(cohort, 128)
    scores = known.users @ known.items.T
    assert (scores == scores[0]).all()
    assert np.argmax(scores[0]) == np.argmax(cohort.plays)


def test_popularity_within_a_group_is_that_of_its_own_column():
    plays = np.array([[9.0, 0.0], [3.0, 4.0]])
    known = popularity_by(plays, np.array([1, 0, 1]), 8)
    assert known.items.shape == (2, 8)
    np.testing.assert_allclose(known.users @ known.items.T, np.log1p(plays.T[[1, 0, 1]]), rtol=1e-6)


def test_a_baseline_is_fitted_once_for_the_same_plays(cohort, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    nmf = BASELINES["nmf"](size=8)
    first = learned(nmf, cohort.past, 0, tmp_path)
    assert len(list(tmp_path.glob("nmf-*.npz"))) == 1
    monkeypatch.setattr(BASELINES["nmf"], "fit", None)  # a second fit would fail
    again = learned(nmf, cohort.past, 0, tmp_path)
    np.testing.assert_array_equal(first.users, again.users)
    with pytest.raises(TypeError):
        learned(nmf, cohort.past, 1, tmp_path)
    assert not list(tmp_path.glob("*.partial*"))


def test_everything_that_can_be_compared_has_a_title():
    assert set(BASELINES) < set(contenders.TITLES)
