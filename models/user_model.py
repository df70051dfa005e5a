"""The user model: named groups in, a unit vector out, and a tower for items beside it.

The vector begins as what is known to be good, and learns corrections to it. Three parts lie side by
side: the mean direction of what was played, where it lay (``models.codebook``), and how much it
matters to this user what everybody plays::

    user = normalise([ a ⊙ Σ_g softmax(mix)_g · taste_g | a' ⊙ interests | β ]  +  gate · f(groups))
    item = normalise([ b ⊙ vector                       | b' ⊙ code      | p ]  +  gate · h(item))

p is the logarithm of an item's plays, a and b begin as constants, f and h as zero. So before the
first step the product of a user and an item is the cosine of item and average, plus how densely the
user's plays lie around the item, plus a little for what is popular; a user of whom nothing is known
is left with that. Nothing turns the parts: a column of the vector goes on meaning what it meant.
Hiding whole groups in training (Volkovs et al., DropoutNet, NeurIPS 2017) lets one model serve a
listener of ten years and one of ten seconds. Decoders reconstruct the groups from the vector, so
that it keeps what the next play alone would not ask for.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.codebook import ITEM_SIZE, Codebook
from models.layout import CODE_SIZE, INTERESTS, VECTOR_SIZE, FeatureLayout, Group

# A few scalars have further to go than the networks: they learn this much faster.
MIX_RATE, METRIC_RATE = 10.0, 5.0
# Of a user's interests and of popularity beside taste, before training (docs/quality.md).
INTERESTS_START, USER_POPULARITY, ITEM_POPULARITY = 0.7, 0.03, 0.3
SIZE = VECTOR_SIZE + CODE_SIZE + 2


class UserModelConfig(BaseModel):
    """What a user model is made of; kept beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    layout: FeatureLayout
    """The groups of the feature rows that it reads."""
    anchors: int = 1
    """Rows of the codebook."""
    hidden: tuple[int, ...] = Field((128,), min_length=1)
    """Widths of the hidden layers of each learnt correction."""
    gate: float = 0.3
    """How much the learnt corrections weigh beside the average."""
    dropout: float = 0.1
    """Share of hidden units dropped in training."""

    @field_validator("hidden", mode="before")
    @classmethod
    def _of_one_layer(cls, hidden: object) -> object:
        """Side-cars of models with one hidden layer say its width alone."""
        return (hidden,) if isinstance(hidden, int) else hidden


class UserModel(nn.Module):
    """Encoder, decoders and item tower.

    Args:
        config: what it is made of.
        codebook: of the batch; without one codes are zero until weights are loaded.
    """

    def __init__(self, config: UserModelConfig, codebook: Codebook | None = None) -> None:
        super().__init__()
        self.config = config
        groups = config.layout.groups
        self.tastes = [one for one in groups if one.kind == "vector" and one.name != INTERESTS]
        self.codebook = codebook or Codebook(config.anchors)
        self.mix = nn.Parameter(torch.zeros(len(self.tastes)))
        start = torch.zeros(VECTOR_SIZE + CODE_SIZE)
        start[VECTOR_SIZE:] = math.log(INTERESTS_START) / METRIC_RATE
        self.user_metric = nn.Parameter(start)
        self.item_metric = nn.Parameter(torch.zeros(VECTOR_SIZE + CODE_SIZE))
        self.popularity = nn.Parameter(torch.tensor(USER_POPULARITY))
        width = config.layout.width + len(groups)
        # Only amounts have a scale of their own; the other groups' is what they mean.
        amounts = [group for group in groups if group.kind == "amounts"]
        self.norms = nn.ModuleDict(
            {group.name: nn.BatchNorm1d(group.width, affine=False) for group in amounts}
        )
        self.user_net: nn.Module = _correction(width, config)
        self.item_net = _correction(ITEM_SIZE, config)
        self.decoders = nn.ModuleDict(
            {group.name: nn.Linear(SIZE, group.width) for group in groups}
        )
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    @classmethod
    def of(cls, layout: FeatureLayout, codebook: Codebook) -> UserModel:
        """A model that is yet to be trained."""
        return cls(UserModelConfig(layout=layout, anchors=len(codebook.anchors)), codebook)

    def forward(self, features: Tensor, present: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Users and items on one sphere; one call, so that gradients of both are synchronised.

        Args:
            features: (B, layout.width) float32, zeros where a group is missing.
            present: (B, groups) float32 of 0 and 1.
            items: (N, ITEM_SIZE) float32, as ``Codebook`` describes them.

        Returns:
            (B, SIZE) and (N, SIZE) float32, rows of length 1.
        """
        return self.users(features, present), self.items(items)

    def users(self, features: Tensor, present: Tensor) -> Tensor:
        """Encode users, (B, SIZE) unit rows; the arguments as in ``forward``."""
        known = self._scaled(features, present)  # (B, width)
        correction = self.user_net(torch.cat([known, present], dim=1))  # (B, SIZE)
        interests = known[:, self.config.layout[INTERESTS].slice]  # (B, CODE_SIZE)
        parts = torch.cat([self._taste(features, present), interests], dim=1)
        weighed = parts * (METRIC_RATE * self.user_metric).exp()  # (B, VECTOR_SIZE + CODE_SIZE)
        common = self.popularity.expand(len(weighed), 1)  # (B, 1)
        base = torch.cat([weighed, common, torch.zeros_like(common)], dim=1)  # (B, SIZE)
        return F.normalize(base + self.config.gate * correction, dim=1)  # (B, SIZE)

    def items(self, known: Tensor) -> Tensor:
        """Place items on the users' sphere, (N, SIZE) unit rows; the argument as in ``forward``."""
        weighed = known[:, :-1] * (METRIC_RATE * self.item_metric).exp()
        common = ITEM_POPULARITY * known[:, -1:]  # (N, 1)
        base = torch.cat([weighed, common, torch.zeros_like(common)], dim=1)  # (N, SIZE)
        return F.normalize(base + self.config.gate * self.item_net(known), dim=1)  # (N, SIZE)

    def decode(self, users: Tensor) -> dict[str, Tensor]:
        """Reconstruct each group from the vectors, by name, (B, group.width) before any softmax."""
        return {name: decoder(users) for name, decoder in self.decoders.items()}

    def _scaled(self, features: Tensor, present: Tensor) -> Tensor:
        """What is known, amounts in units of their spread and missing groups zero, (B, width)."""
        width = self.config.layout.width
        bits = torch.repeat_interleave(
            present, self._widths(present.device), dim=1, output_size=width
        )  # (B, width)
        known = features * bits
        for name, norm in self.norms.items():
            own = self.config.layout[name].slice
            known[:, own] = norm(features[:, own]) * bits[:, own]
        return known

    def _taste(self, features: Tensor, present: Tensor) -> Tensor:
        """The mixture of what is known of a user's taste, (B, VECTOR_SIZE)."""
        names = self.config.layout.names
        bits = present[:, [names.index(group.name) for group in self.tastes]]  # (B, tastes)
        mix = (MIX_RATE * self.mix).expand_as(bits).masked_fill(bits == 0, -1e4)
        weight = torch.softmax(mix, dim=1) * bits  # (B, tastes)
        parts = [
            weight[:, place : place + 1] * features[:, group.slice]
            for place, group in enumerate(self.tastes)
        ]
        return torch.stack(parts).sum(dim=0)  # (B, VECTOR_SIZE)

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


def _correction(width: int, config: UserModelConfig) -> nn.Sequential:
    """Hidden layers and one that gives a vector, whose result begins as zero."""
    last = nn.Linear(config.hidden[-1], SIZE)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    layers: list[nn.Module] = []
    for before, after in pairwise((width, *config.hidden)):
        layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, last)
