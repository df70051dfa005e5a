"""The network of Mult-VAE."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VAENetwork(nn.Module):
    """From the items that a user has played to a Gaussian, and back to a softmax over items.

    Args:
        items: how many there are.
        hidden: width of the encoder's layer.
        latent: numbers of the Gaussian's mean.
        last: width of the decoder's last hidden layer.
        dropout: share of a user's items that the encoder does not see in training.
    """

    def __init__(self, items: int, hidden: int, latent: int, last: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.EmbeddingBag(items, hidden, mode="sum")
        self.gaussian = nn.Linear(hidden, 2 * latent)
        self.decoder = nn.Linear(latent, last)
        self.out = nn.Linear(last, items)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.first, self.gaussian, self.decoder, self.out):
            nn.init.xavier_normal_(layer.weight)

    def encode(self, item: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each user's Gaussian, (B, latent) each.

        Args:
            item: (N,) int64, the items of the batch's users one after another.
            begin: (B + 1,) int64, where each user's items begin, and their end.
        """
        count = begin.diff()
        weight = torch.repeat_interleave(count.float().rsqrt(), count)  # rows of length 1
        hidden = self.first(item, begin[:-1], per_sample_weights=self.dropout(weight))
        mean, log_variance = self.gaussian(torch.tanh(hidden)).chunk(2, dim=1)
        return mean, log_variance

    def last(self, latent: Tensor) -> Tensor:
        """The decoder's last hidden layer, (B, last); ``out`` makes logits of it."""
        return torch.tanh(self.decoder(latent))

    def loss(self, item: Tensor, begin: Tensor, beta: float) -> Tensor:
        """Negative evidence lower bound per user; ``beta`` weighs the divergence."""
        mean, log_variance = self.encode(item, begin)
        noise = torch.randn_like(mean) * (0.5 * log_variance).exp()
        logits = self.out(self.last(mean + noise))  # (B, items)
        count = begin.diff()
        owner = torch.repeat_interleave(torch.arange(len(count)), count)
        played = logits[owner, item].sum()
        total = (torch.logsumexp(logits, dim=1) * count).sum()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        return (total - played + beta * divergence) / len(count)
