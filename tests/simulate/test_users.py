import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from simulate.catalogue import catalogue
from simulate.listeners import listeners
from simulate.users import onboarding_batch, truth_batch, user_batch


@pytest.mark.parametrize("batch", [user_batch, onboarding_batch, truth_batch])
def test_rows_are_the_same_however_users_are_cut_into_ranges(simulation, batch):
    whole = pa.Table.from_batches([batch(simulation, np.arange(60))])
    parts = [batch(simulation, users) for users in np.split(np.arange(60), [7, 31])]
    assert pa.Table.from_batches(parts).equals(whole)


def test_some_users_do_not_tell_their_birth_year(simulation, everybody):
    users = user_batch(simulation, everybody).to_pandas()
    assert users.user_id.is_unique
    assert 0.05 < users.birth_year.isna().mean() < 0.2
    assert users.birth_year.dropna().between(1930, 2015).all()
    assert set(users.subscription) == {"free", "premium", "family", "student"}


def test_most_users_finish_onboarding_and_pick_once_each(simulation, everybody):
    picks = onboarding_batch(simulation, everybody).to_pandas()
    assert not picks.duplicated(["user_id", "picked_id"]).any()
    by_user = picks.groupby("user_id").completed.first()
    assert 0.7 < by_user.mean() < 1
    assert len(by_user) < len(everybody)  # some left at once
    count = picks.groupby("user_id").size()
    assert count[by_user].between(3, 5).mean() > 0.98
    assert count[~by_user].between(1, 2).all()


def test_picks_come_after_registration_and_before_the_first_play(simulation, everybody, listens):
    picks = onboarding_batch(simulation, everybody).to_pandas()
    registered = user_batch(simulation, everybody).to_pandas().set_index("user_id").registered_at
    assert (picks.picked_at.array > registered[picks.user_id].array).all()
    first = listens.groupby("user_id").played_at.min()
    picked = picks.groupby("user_id").picked_at.max().reindex(first.index)
    assert (picked.isna() | (picked < first)).all()


def test_picks_tell_of_the_taste(simulation, everybody):
    crowd, shelf = listeners(simulation, everybody), catalogue(simulation)
    picks = onboarding_batch(simulation, everybody).to_pandas()
    user = picks.user_id.str[1:].astype(int).to_numpy()
    genre = shelf.genre[picks.picked_id.str[1:].astype(int).to_numpy()]
    assert crowd.start[user, genre].mean() > 3 * crowd.start[:, genre].mean()


def test_the_truth_is_shares_of_all_genres(simulation, everybody):
    truth = truth_batch(simulation, everybody).to_pandas()
    for column in ("start", "end"):
        mixtures = np.stack(truth[column])
        assert mixtures.shape == (len(everybody), 24)
        assert_allclose(mixtures.sum(axis=1), 1, rtol=1e-5)
