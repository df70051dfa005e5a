"""The user model: named groups in, a unit vector out, and a tower for items beside it.

The vector begins as what is known to be good, a mixture of the user's average item vectors, and
learns corrections to it::

    user = normalise(P · (a ⊙ Σ_g softmax(mix)_g · taste_g)  +  gate · f(groups, presence bits))
    item = normalise(P · (b ⊙ v)                             +  gate · h(v))

P is an isometry that is never trained, a and b weigh its dimensions and begin as ones, f and h
begin as zero: before the first step the dot product of a user and an item is the cosine of the
average and the item. A trained P was tried, and moved items that nobody had played yet away from
where their content puts them. Hiding whole groups in
training (Volkovs et al., DropoutNet, NeurIPS 2017) lets one model serve a listener of ten years and
one of ten seconds. Decoders reconstruct the groups from the vector, so that it keeps what the next
play alone would not ask for.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from models.layout import VECTOR_SIZE, FeatureLayout, Group

# A few scalars have further to go than the networks: they learn this much faster.
MIX_RATE, METRIC_RATE = 10.0, 5.0


class UserModelConfig(BaseModel):
    """What a user model is made of; kept beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    layout: FeatureLayout
    """The groups of the feature rows that it reads."""
    size: int = 128
    """Numbers of a user's vector."""
    hidden: int = 128
    """Width of the hidden layers."""
    gate: float = 0.3
    """How much the learnt corrections weigh beside the average."""
    dropout: float = 0.1
    """Share of hidden units dropped in training."""


class UserModel(nn.Module):
    """Encoder, decoders and item tower."""

    def __init__(self, config: UserModelConfig) -> None:
        super().__init__()
        self.config = config
        groups = config.layout.groups
        self.vector_groups = [group for group in groups if group.kind == "vector"]
        self.register_buffer("isometry", _isometry(config.size))
        self.isometry: Tensor
        self.mix = nn.Parameter(torch.zeros(len(self.vector_groups)))
        self.user_metric = nn.Parameter(torch.zeros(VECTOR_SIZE))
        self.item_metric = nn.Parameter(torch.zeros(VECTOR_SIZE))
        self.nobody = nn.Parameter(self.isometry.sum(dim=1) / VECTOR_SIZE**0.5)
        width = config.layout.width + len(groups)
        # Only amounts have a scale of their own; the other groups' is what they mean.
        amounts = [group for group in groups if group.kind == "amounts"]
        self.norms = nn.ModuleDict(
            {group.name: nn.BatchNorm1d(group.width, affine=False) for group in amounts}
        )
        self.user_net = _correction(width, config)
        self.item_net = _correction(VECTOR_SIZE, config)
        self.decoders = nn.ModuleDict(
            {group.name: nn.Linear(config.size, group.width) for group in groups}
        )
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, features: Tensor, present: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Users and items on one sphere; one call, so that gradients of both are synchronised.

        Args:
            features: (B, layout.width) float32, zeros where a group is missing.
            present: (B, groups) float32 of 0 and 1.
            items: (N, VECTOR_SIZE) float32.

        Returns:
            (B, size) and (N, size) float32, rows of length 1.
        """
        return self.users(features, present), self.items(items)

    def users(self, features: Tensor, present: Tensor) -> Tensor:
        """Encode users, (B, size) unit rows; the arguments as in ``forward``."""
        bits = torch.repeat_interleave(present, self._widths(present.device), dim=1)  # (B, width)
        known = self._scaled(features) * bits  # (B, width)
        correction = self.user_net(torch.cat([known, present], dim=1))  # (B, size)
        taste, heard = self._taste(features, present)  # (B, VECTOR_SIZE), (B, 1)
        weighed = taste * (METRIC_RATE * self.user_metric).exp()  # (B, VECTOR_SIZE)
        base = weighed @ self.isometry.T + (1 - heard) * self.nobody  # (B, size)
        return F.normalize(base + self.config.gate * correction, dim=1)  # (B, size)

    def items(self, vectors: Tensor) -> Tensor:
        """Place items on the users' sphere, (N, size) unit rows."""
        weighed = vectors * (METRIC_RATE * self.item_metric).exp()  # (N, VECTOR_SIZE)
        base = weighed @ self.isometry.T  # (N, size)
        return F.normalize(base + self.config.gate * self.item_net(vectors), dim=1)  # (N, size)

    def decode(self, users: Tensor) -> dict[str, Tensor]:
        """Reconstruct each group from the vectors, by name, (B, group.width) before any softmax."""
        return {name: decoder(users) for name, decoder in self.decoders.items()}

    def _scaled(self, features: Tensor) -> Tensor:
        parts = [
            self.norms[group.name](features[:, group.slice])
            if group.name in self.norms
            else features[:, group.slice]
            for group in self.config.layout.groups
        ]
        return torch.cat(parts, dim=1)  # (B, width)

    def _taste(self, features: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        names = self.config.layout.names
        bits = torch.stack(
            [present[:, names.index(group.name)] for group in self.vector_groups], dim=1
        )  # (B, vector groups)
        mix = (MIX_RATE * self.mix).expand_as(bits).masked_fill(bits == 0, -1e4)
        weight = torch.softmax(mix, dim=1) * bits  # (B, vector groups)
        stacked = torch.stack([features[:, group.slice] for group in self.vector_groups], dim=1)
        taste = (weight[:, :, None] * stacked).sum(dim=1)  # (B, VECTOR_SIZE)
        return taste, (bits.sum(dim=1, keepdim=True) > 0).to(taste.dtype)

    def _widths(self, device: torch.device) -> Tensor:
        return torch.tensor([group.width for group in self.config.layout.groups], device=device)


def reconstruction_loss(group: Group, decoded: Tensor, values: Tensor) -> Tensor:
    """How far a decoded group is from what it was, per row, (B,); about 1 for a guess.

    Args:
        group: says what its columns are.
        decoded: (B, group.width), as ``UserModel.decode`` gives it.
        values: (B, group.width) of the feature rows.
    """
    if group.kind == "vector":
        return 1 - F.cosine_similarity(decoded, values, dim=1)
    if group.kind == "amounts":
        return F.smooth_l1_loss(decoded, values, reduction="none").mean(dim=1)
    entropy = -(values * F.log_softmax(decoded, dim=1)).sum(dim=1)
    return entropy / max(1.0, torch.tensor(float(group.width)).log().item())


def _isometry(size: int) -> Tensor:
    """The same columns of length 1, at right angles, for every model, (size, VECTOR_SIZE)."""
    generator = torch.Generator().manual_seed(7)
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0][:, :VECTOR_SIZE]


def _correction(width: int, config: UserModelConfig) -> nn.Sequential:
    """Two layers whose result begins as zero."""
    last = nn.Linear(config.hidden, config.size)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    first = nn.Linear(width, config.hidden)
    return nn.Sequential(first, nn.GELU(), nn.Dropout(config.dropout), last)
