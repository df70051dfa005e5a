import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from evaluation.cohort import read_cohort
from evaluation.truth import genres_heard, posterior, read_truth
from schemas.errors import InputError

GENRES = 4


@pytest.fixture
def truth(tmp_path):
    rows = {"user_id": ["b", "a"], "end": [[0.1, 0.9], [0.5, 0.5]], "start": [[1.0, 0.0]] * 2}
    pq.write_table(pa.table(rows), tmp_path / "part-0.parquet")
    return str(tmp_path)


def test_truth_is_read_in_the_order_of_the_users(truth):
    assert_allclose(read_truth(truth, np.array(["a", "b"])), [[0.5, 0.5], [0.1, 0.9]], atol=1e-6)


def test_users_of_another_simulation_are_refused(truth):
    with pytest.raises(InputError, match="knows 1 of 2 users"):
        read_truth(truth, np.array(["a", "z"]))


def test_a_folder_without_truth_is_refused(tmp_path):
    with pytest.raises(InputError, match="not the truth of a simulation"):
        read_truth(str(tmp_path / "nowhere"), np.array(["a"]))


def test_each_session_counts_for_the_genre_that_it_begins_with(lake, two_spaces):
    batch = two_spaces(users=20)[1]
    cohort = read_cohort(lake, batch, 7, most=100, seed=0)
    counts = genres_heard(lake, batch, cohort)
    # Everybody plays tracks of one genre, an hour apart.
    assert ((counts > 0).sum(axis=1) == 1).all()
    assert_allclose(counts.sum(axis=1), np.bincount(cohort.past.user))


def test_the_best_guess_lies_between_what_is_common_and_what_was_counted():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([0.4] * GENRES, 500)
    sessions = rng.integers(0, 40, 500)
    order = np.array([2, 0, 3, 1])  # counted genres need not be in the order of the true ones
    counts = np.stack([rng.multinomial(n, row) for n, row in zip(sessions, truth, strict=True)])
    teaching = np.arange(500) < 400
    guess = posterior(counts[:, order].astype(float), truth, teaching)
    assert_allclose(guess.sum(axis=1), 1)
    assert_allclose(guess[sessions == 0], [truth[:400].mean(axis=0)] * (sessions == 0).sum())
    asked = ~teaching & (sessions > 0)
    shares = counts / np.maximum(sessions[:, None], 1)
    others = (shares, np.tile(truth[:400].mean(axis=0), (500, 1)))
    errors = [np.square((one - truth)[asked]).sum() for one in (guess, *others)]
    assert errors[0] < min(errors[1:])
