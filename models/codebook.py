"""Codes that say where in the space of items somebody's plays lie, beside their mean direction.

Between jazz and techno lies the mean of both, where nobody plays anything. So items have codes
beside their vectors: how near an item is to each of up to a thousand anchors, the centres of what
is played, brought down to the directions in which plays differ most::

    a(v) = √softmax(s · C v)      C: (anchors, d), unit rows, by k-means
    code(v) = Wᵀ a(v)             W: (anchors, CODE_SIZE), principal directions but the first

The product of two such roots is the overlap of two distributions over anchors (Bhattacharyya,
1943): near 1 for items beside one another, and falling far faster than their cosine. Codes add up
over plays as vectors do, so the product of a user's sum with an item's code is a density of the
user's plays at the item. A code follows from the vector alone: what nobody has played has one, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features import ItemSpace, creator_vectors, unit
from models.layout import CODE_SIZE, VECTOR_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

ANCHORS = 1024
ITEMS_PER_ANCHOR = 8  # played items; with fewer an anchor is hardly more than an item
SAMPLE = 60_000  # plays that anchors and directions are found from
ROUNDS = 10  # of k-means
SHARPNESS = 20.0  # s; at an angle of 45° from an anchor the share is e^-6 of what it is there
ROWS_AT_ONCE = 8192
ITEM_SIZE = VECTOR_SIZE + CODE_SIZE + 1  # numbers that describe an item


class Codebook(nn.Module):
    """Describes items; nothing of it is trained.

    Attributes:
        anchors: (K, VECTOR_SIZE) float32, unit rows.
        directions: (K, CODE_SIZE) float32.
        log_plays: (2,) float32, mean and standard deviation of log(1 + plays) over all plays.
    """

    def __init__(self, anchors: int = 1) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.zeros(anchors, VECTOR_SIZE))
        self.register_buffer("directions", torch.zeros(anchors, CODE_SIZE))
        self.register_buffer("log_plays", torch.tensor([0.0, 1.0]))
        self.anchors: Tensor
        self.directions: Tensor
        self.log_plays: Tensor

    @torch.no_grad()
    def codes(self, vectors: Tensor) -> Tensor:
        """Codes of items, (N, CODE_SIZE) float32; zeros for an item without a vector.

        Args:
            vectors: (N, VECTOR_SIZE) float32, of any length.
        """
        known = vectors.any(dim=1)
        found = vectors.new_zeros((len(vectors), CODE_SIZE))
        for part in _parts(len(vectors)):
            near = F.normalize(vectors[part], dim=1) @ self.anchors.T  # (P, K)
            found[part] = _shares(near) @ self.directions
        return found * known[:, None]

    @torch.no_grad()
    def forward(self, vectors: Tensor, plays: Tensor) -> Tensor:
        """What is known of items: vector, code of length 1, how often played.

        Args:
            vectors: (N, VECTOR_SIZE) float32.
            plays: (N,) at least 0.

        Returns:
            (N, ITEM_SIZE) float32.
        """
        mean, spread = self.log_plays
        common = (torch.log1p(plays.to(vectors.dtype)) - mean) / spread
        return torch.cat([vectors, F.normalize(self.codes(vectors), dim=1), common[:, None]], dim=1)


def item_space(vectors: np.ndarray, creator_of_item: np.ndarray, codebook: Codebook) -> ItemSpace:
    """Items and their creators, and the codes of both, as features see them.

    Args:
        vectors: (items, VECTOR_SIZE) float32.
        creator_of_item: (items,) int64, dense; -1 where unknown.
        codebook: of the batch.
    """
    creators = creator_vectors(vectors, creator_of_item, int(creator_of_item.max(initial=-1)) + 1)
    codes, creator_codes = (
        codebook.codes(torch.tensor(rows)).numpy() for rows in (vectors, creators)
    )
    return ItemSpace(vectors, creators, codes, creator_codes)


def fit_codebook(vectors: np.ndarray, plays: np.ndarray, seed: int) -> Codebook:
    """Find anchors and directions for a catalogue.

    Sums are in float64, so that another number of threads changes nothing that can be seen.

    Args:
        vectors: (N, VECTOR_SIZE) float32.
        plays: (N,) how often each was played; the sample is drawn in proportion.
        seed: of the sample.
    """
    rng = np.random.default_rng(seed)
    weight = plays * vectors.any(axis=1)
    played = int((weight > 0).sum())
    if not played:
        return Codebook()
    share = weight / weight.sum()
    sample = unit(vectors[rng.choice(len(vectors), SAMPLE, p=share)]).astype(np.float64)
    anchors = _centres(sample, max(1, min(ANCHORS, played // ITEMS_PER_ANCHOR)), rng)
    common = np.log1p(plays)
    mean = float(common @ share)
    found = Codebook(len(anchors))
    found.anchors = torch.from_numpy(anchors.astype(np.float32))
    found.directions = torch.from_numpy(_directions(sample, anchors).astype(np.float32))
    spread = max(float(np.sqrt((common - mean) ** 2 @ share)), 1e-3)
    found.log_plays = torch.tensor([mean, spread])
    return found


def _centres(sample: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Spherical k-means from rows of the sample (Dhillon and Modha, 2001), (count, d) unit rows."""
    centres = sample[rng.permutation(len(sample))[:count]]
    for _ in range(ROUNDS):
        near = [(sample[part] @ centres.T).argmax(axis=1) for part in _parts(len(sample))]
        owner = np.concatenate(near)
        sums = np.stack([np.bincount(owner, column, count) for column in sample.T], axis=1)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.divide(sums, length, out=centres.copy(), where=length > 0)
    return centres


def _directions(sample: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Principal directions without the first, which tells how common anchors are, (K, CODE_SIZE).

    Where there are fewer anchors than directions, zeros follow.
    """
    spread = np.zeros((len(anchors), len(anchors)))
    for part in _parts(len(sample)):
        shares = _shares(torch.from_numpy(sample[part] @ anchors.T)).numpy()  # (P, K)
        spread += shares.T @ shares
    found = np.linalg.eigh(spread)[1][:, ::-1][:, 1 : 1 + CODE_SIZE]
    # A direction has no sign of its own: the same one on every machine.
    largest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    return np.pad(found * np.where(largest < 0, -1, 1), ((0, 0), (0, CODE_SIZE - found.shape[1])))


def _shares(near: Tensor) -> Tensor:
    """The root of how much an item belongs to each anchor, from its cosines, (P, K) both."""
    return torch.softmax(SHARPNESS * near, dim=1).sqrt()


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + ROWS_AT_ONCE) for first in range(0, count, ROWS_AT_ONCE))
