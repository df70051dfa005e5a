from dataclasses import replace

import numpy as np
import pytest

from evaluation.pairs import Question, shuffled
from evaluation.scores import ask
from models.baselines import Representation
from models.features import unit

USERS, ITEMS, SIZE = 200, 120, 16


@pytest.fixture(scope="module")
def world() -> tuple[Representation, Question]:
    """Users whose next plays are the ten items nearest to them, some of them played before."""
    rng = np.random.default_rng(0)
    users, items = (unit(rng.standard_normal((n, SIZE)).astype(np.float32)) for n in (USERS, ITEMS))
    near = np.argsort(-(users @ items.T), axis=1)
    played = [np.sort(row) for row in near[:, :10]]
    known = [np.sort(row) for row in near[:, :14]]
    return Representation(users, items), Question(played, known, np.ones(ITEMS))


def test_the_truth_is_found_by_everybody(world):
    found = ask(*world, seeds=1, rank=True)
    assert not np.isnan(found["auc"]).any()
    assert found["auc"].mean() > 0.98
    assert found["auc of dot products"].mean() > 0.98
    assert found["accuracy"].mean() > 0.85
    assert found["recall@50"].mean() > 0.95
    assert found["ndcg@50"].mean() > 0.9


def test_users_that_are_all_alike_tell_nothing(world):
    known, question = world
    same = Representation(np.ones_like(known.users), known.items)
    assert ask(same, question, seeds=1, rank=False)["auc"].mean() < 0.7


def test_somebody_elses_future_cannot_be_told(world):
    known, question = world
    rng = np.random.default_rng(3)
    noise = Representation(unit(rng.standard_normal(known.users.shape)), known.items)
    mixed = shuffled(question, np.random.default_rng(0))
    for contender in (known, noise):
        found = ask(contender, mixed, seeds=1, rank=False)["auc"]
        assert abs(np.nanmean(found) - 0.5) < 0.03


def test_shuffled_futures_are_not_told_worse_than_by_chance_either():
    """Few items, known one by one: what one user is dealt would be missing among the others."""
    rng = np.random.default_rng(0)
    users = unit(np.abs(rng.standard_normal((60, 40))))
    positives = [rng.choice(40, 5, replace=False) for _ in users]
    question = Question(positives, positives, np.ones(40))
    known = Representation(users, np.eye(40))
    found = [
        np.nanmean(ask(known, mixed, seeds=2, rank=False)["auc"])
        for mixed in (shuffled(question, np.random.default_rng(seed)) for seed in range(8))
    ]
    assert abs(np.mean(found) - 0.5) < 0.02


def test_nothing_is_ranked_that_was_not_asked_for(world):
    assert "ndcg@50" not in ask(*world, seeds=1, rank=False)


def test_seeds_ask_anew_and_are_averaged(world):
    known, question = world
    rng = np.random.default_rng(1)
    noisy = Representation(known.users + rng.normal(0, 0.3, known.users.shape), known.items)
    one, two, three = (ask(noisy, question, seeds, rank=True) for seeds in (1, 2, 3))
    assert not np.array_equal(one["auc"], two["auc"])
    second = 2 * two["auc"] - one["auc"]
    third = 3 * three["auc"] - 2 * two["auc"]
    assert not np.allclose(second, third)
    assert np.abs(second - one["auc"]).mean() < 0.1
    assert np.array_equal(one["ndcg@50"], three["ndcg@50"])


def test_who_cannot_be_asked_has_no_figure(world):
    known, question = world
    positives = [np.zeros(0, np.int64), *question.positives[1:]]
    found = ask(known, replace(question, positives=positives), seeds=2, rank=True)
    assert np.isnan([values[0] for values in found.values()]).all()
    assert not np.isnan([values[1:] for values in found.values()]).any()
