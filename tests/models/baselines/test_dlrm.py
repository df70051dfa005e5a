import numpy as np
import pytest
import torch

from models.baselines.dlrm import DLRM, table_of


@pytest.fixture
def model() -> DLRM:
    return DLRM(size=16, batch=64, epochs=8, learning_rate=0.1)


@pytest.fixture
def network(model, communities):
    torch.manual_seed(0)
    network = model.network(communities())
    model.train(network, communities(), np.random.default_rng(0))
    return network


def test_the_table_holds_the_network_s_own_logits(network):
    user, item = np.array([0, 5, 17]), np.array([39, 1])
    table = table_of(network)(user, item)
    one_by_one = network(np.repeat(user, 2), np.tile(item, 3)).detach().numpy()
    np.testing.assert_allclose(table.ravel(), one_by_one, atol=1e-4)


def test_vectors_rank_as_the_network_does(model, network, communities):
    plays = communities()
    users, items = model.fit(plays, 0)
    logits = table_of(network)(np.arange(plays.users), np.arange(plays.items))
    heard = np.flatnonzero(~plays.silent())
    alike = [np.corrcoef(users[row] @ items.T, logits[row])[0, 1] for row in heard]
    assert np.mean(alike) > 0.9


def test_who_has_played_nothing_has_no_vector_of_his_own_to_learn(network, communities):
    silent = communities().silent()
    own = network.user.own.weight.detach().numpy()
    assert not own[silent].any()
    assert own[~silent].any(axis=1).all()


def test_a_user_who_has_played_nothing_is_known_by_his_tags(model, communities):
    users, items = model.fit(communities(), 0)
    scores = users[communities().silent()][0] @ items.T  # his tag is that of the odd
    assert scores[1::2].mean() > scores[::2].mean()
