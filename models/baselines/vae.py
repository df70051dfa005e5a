"""Mult-VAE: a variational autoencoder of what a user has played."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from models.baselines.baseline import Baseline
from models.baselines.interactions import Representation
from models.baselines.seeding import seeded

if TYPE_CHECKING:
    from scipy import sparse
    from torch import Tensor

    from models.baselines.interactions import Interactions
    from models.baselines.vae_network import VAENetwork


class VAE(Baseline):
    """Mult-VAE in PyTorch; Cornac's VAECF has neither the dropout nor the annealing of the paper.

    The decoder's last hidden layer h and the softmax' weights W and biases b make the vectors, the
    bias being one of the numbers::

        user = [h(mean), 1]    item = [W, b]

    so their dot products are the method's own logits.
    """

    title: ClassVar[str] = "Mult-VAE"
    paper: ClassVar[str] = "Liang et al., WWW 2018"

    hidden: int = Field(128, gt=0)
    """Width of the encoder's hidden layer."""
    latent: int = Field(128, gt=0)
    """Numbers of the Gaussian's mean."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of a user's items that are hidden from the encoder."""
    beta: float = Field(0.2, ge=0)
    """Weight of the divergence at the end; it grows linearly over the first ``annealed`` steps."""
    annealed: float = Field(0.5, gt=0, le=1)
    """Share of all steps in which it grows."""
    epochs: int = Field(12, gt=0)
    """Passes over users."""
    batch: int = Field(64, gt=0)
    """Users of a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Step of Adam."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {
            "latent": (64, 128),
            "dropout": (0.2, 0.5, 0.7),
            "beta": (0.0, 0.2, 0.5, 1.0),
            "epochs": (8, 12, 20),
            "learning_rate": (1e-3, 3e-3, 6e-3),
        }

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Train, and read the vectors off the decoder."""
        import torch

        from models.baselines.vae_network import VAENetwork

        played, rows = plays.counts(), np.flatnonzero(~plays.silent())
        with seeded(seed):
            network = VAENetwork(plays.items, self.hidden, self.latent, self.size - 1, self.dropout)
            self.train(network, played[rows], np.random.default_rng(seed))
        users = np.zeros((plays.users, self.size), np.float32)
        with torch.no_grad():
            mean, _ = network.eval().encode(*_batch(played[rows]))
            users[rows, :-1] = network.last(mean).numpy()
        users[rows, -1] = 1
        weight, bias = (part.detach().numpy() for part in network.out.parameters())
        return Representation(users, np.column_stack([weight, bias]))

    def train(
        self, network: VAENetwork, played: sparse.csr_array, rng: np.random.Generator
    ) -> None:
        """Adam over users in random order, the divergence growing from nothing."""
        import torch

        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate, fused=True)
        users = played.shape[0]
        steps_of_growth = self.annealed * self.epochs * -(-users // self.batch)
        step = 0
        for _ in range(self.epochs):
            order = rng.permutation(users)
            for begin in range(0, users, self.batch):
                beta = self.beta * min(1.0, step / steps_of_growth)
                some = _batch(played[order[begin : begin + self.batch]])
                optimizer.zero_grad()
                network.loss(*some, beta).backward()
                optimizer.step()
                step += 1


def _batch(played: sparse.csr_array) -> tuple[Tensor, Tensor]:
    """The items of users one after another, and where each user's begin, with their end."""
    import torch

    item, begin = played.indices.astype(np.int64), played.indptr.astype(np.int64)
    return torch.from_numpy(item), torch.from_numpy(begin)
