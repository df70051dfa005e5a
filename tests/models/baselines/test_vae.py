import numpy as np
import pytest
import torch

from models.baselines.vae import VAE, _batch
from models.baselines.vae_network import VAENetwork


def test_the_last_number_of_an_item_is_its_bias(communities):
    plays = communities()
    users, items = VAE(size=16, batch=16).fit(plays, 0)
    assert (users[~plays.silent(), -1] == 1).all()
    assert items[:, -1].std() > 0


def test_a_batch_tells_where_each_users_items_begin(communities):
    two = communities().counts()[[4, 1]]
    item, begin = _batch(two)
    played = two.toarray() > 0
    assert begin.tolist() == [0, played[0].sum(), played.sum()]
    assert sorted(item[: begin[1]].tolist()) == np.flatnonzero(played[0]).tolist()


@torch.no_grad()
def test_the_loss_is_the_multinomial_likelihood_and_the_divergence():
    torch.manual_seed(0)
    network = VAENetwork(items=6, hidden=5, latent=3, last=4, dropout=0.0)
    item, begin = torch.tensor([0, 2, 5]), torch.tensor([0, 1, 3])
    mean, log_variance = network.encode(item, begin)
    prior = torch.distributions.Normal(0, 1)
    own = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    divergence = torch.distributions.kl_divergence(own, prior).sum() / 2
    torch.manual_seed(1)
    without = network.loss(item, begin, beta=0.0)
    torch.manual_seed(1)
    assert float(network.loss(item, begin, beta=2.0) - without) == pytest.approx(
        float(2 * divergence), rel=1e-4
    )
    torch.manual_seed(1)
    logits = network.out(network.last(own.loc + torch.randn_like(mean) * own.scale))
    logs = logits.log_softmax(dim=1)
    likelihood = logs[0, 0] + logs[1, 2] + logs[1, 5]
    assert float(without) == pytest.approx(float(-likelihood / 2), rel=1e-5)
