import numpy as np
import pytest

from evaluation.cohort import read_cohort
from evaluation.tuning import drawn, earlier, search
from models.baselines import BASELINES, Representation
from models.events import DAY
from schemas.errors import InputError

HOURS = 1 / 24
BEST = 1000.0


@pytest.fixture
def cohort(lake, two_spaces):
    return read_cohort(lake, two_spaces(users=40)[1], 7, most=100, seed=0)


def test_the_last_days_become_what_is_asked_about(cohort):
    before = earlier(cohort, 2 * HOURS)
    past = cohort.past
    moment = past.at.max() - round(2 * HOURS * DAY)
    assert before.past.at.max() < moment
    for user in range(past.users):
        own = past.user == user
        wanted = np.unique(past.item[own & (past.at >= moment)])
        assert before.future[user].tolist() == wanted.tolist()


def test_where_nobody_goes_on_there_is_nothing_to_search_by(cohort):
    with pytest.raises(InputError, match="nobody plays who had played before"):
        earlier(cohort, 1000)


def test_settings_are_drawn_from_the_space_and_the_rest_stays():
    start = BASELINES["ease"](size=16)
    for seed in range(20):
        found = drawn(start, np.random.default_rng(seed))
        assert found.size == 16
        for name, values in type(start).space().items():
            assert getattr(found, name) in values


@pytest.fixture
def searched(cohort, tmp_path, monkeypatch):
    """Searches the penalty of EASE; returns the best trial, what was said, and how many fits."""
    ease = BASELINES["ease"]
    fits = []

    def fit(self, plays, _seed):
        fits.append(self.penalty)
        played = (plays.counts().toarray() > 0).astype(np.float32)
        if self.penalty != BEST:
            played[:] = 0
        return Representation(played @ played.T, played.T)  # items that own listeners play

    monkeypatch.setattr(ease, "fit", fit)

    def run(trials: int):
        said = []
        start = ease(size=16)
        best = search(start, earlier(cohort, 2 * HOURS), trials, 0, tmp_path, said.append)
        return best, said, fits

    return run


def test_the_settings_that_tell_most_win_and_a_search_goes_on(searched):
    best, said, fits = searched(3)
    assert len(said) == 3
    count = len(fits)
    best, said, fits = searched(20)
    assert len(said) == 20
    assert len(fits) - count <= 20 - 3  # nothing is fitted twice
    assert best.baseline.penalty == BEST
    assert best.auc > 0.7  # others know nothing: 0.5
