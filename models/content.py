r"""An item's place in the space from its content alone: for what is new or hardly played.

A ridge regression from blocks of content (``models.content_features``) to the vectors that
co-occurrence gave to other items. It is fitted by sums that add up over partitions,

    G = Σ w·xxᵀ,    C = Σ w·xvᵀ,    W = (G + λI)⁻¹ C,

so that ten million items cost one pass, and the result does not depend on the order of rows.

An item that lacks blocks is answered by the regression on the blocks that it has: the rows and
columns of G and C for those blocks, which are the same sums. It does what hiding blocks at random
in training is for (Volkovs et al., DropoutNet, NeurIPS 2017), and was measured to do it better
(docs/quality.md). What a creator's other items say is believed the more the more there are of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.content_features import BLOCKS, ContentLayout
from models.features import unit

if TYPE_CHECKING:
    import pyarrow as pa

BITS = 1 << np.arange(len(BLOCKS))


@dataclass(frozen=True)
class ContentSums:
    """What a partition has to say; ``a + b`` is what both have.

    Attributes:
        gram: (columns, columns) float64.
        cross: (columns, d) float64.
    """

    gram: np.ndarray
    cross: np.ndarray

    @classmethod
    def nothing(cls, layout: ContentLayout) -> ContentSums:
        """What an empty partition has to say."""
        columns = sum(layout.widths.values())
        return cls(np.zeros((columns, columns)), np.zeros((columns, layout.vector_size)))

    def __add__(self, other: ContentSums) -> ContentSums:
        return ContentSums(self.gram + other.gram, self.cross + other.cross)


def content_sums(
    layout: ContentLayout, items: pa.Table | pa.RecordBatch, vectors: np.ndarray, weight: np.ndarray
) -> ContentSums:
    """A partition's share.

    Args:
        layout: the columns.
        items: as in ``ContentLayout.rows``.
        vectors: (N, d) float32 from co-occurrence, zeros where there is none.
        weight: (N,) how far each is to be trusted, from ``item_vectors.trust``.
    """
    rows, _ = layout.rows(items)
    weight = weight * (np.abs(vectors).sum(axis=1) > 0)
    chosen = weight > 0
    rows, vectors, weight = rows[chosen], vectors[chosen], weight[chosen].astype(np.float32)
    weighted = rows * weight[:, None]
    gram = (weighted.T @ rows).astype(np.float64)
    return ContentSums(gram, (weighted.T @ vectors).astype(np.float64))


def fit(layout: ContentLayout, sums: ContentSums) -> ContentEncoder:
    """Solve the regression once for every set of blocks that items may have."""
    seen = [name for name in BLOCKS if sums.gram.diagonal()[layout.slices[name]][-1] > 0]
    columns, size = sums.cross.shape
    weights = np.zeros((1 << len(BLOCKS), columns, size), np.float32)
    for pattern in range(len(weights)):
        blocks = _blocks(pattern)
        if set(blocks) <= set(seen):
            kept = np.r_[tuple(layout.slices[name] for name in ("base", *blocks))]
            gram = sums.gram[np.ix_(kept, kept)] + layout.config.penalty * np.eye(len(kept))
            found = np.linalg.solve(gram, sums.cross[kept])
            weights[pattern, kept] = _spread(found, sums, kept, layout.config.spread)
    return ContentEncoder(layout, weights, np.array([name in seen for name in BLOCKS]))


def _spread(found: np.ndarray, sums: ContentSums, kept: np.ndarray, share: float) -> np.ndarray:
    """Take predictions some of the way back from their mean.

    What is hardly known is foretold near the mean of all, as a regression does; at length 1 such an
    item would be near everybody, and come before items that are known to belong there.

    Args:
        found: (kept, d) weights.
        sums: of all columns, the first of which is 1.
        kept: columns of the regression.
        share: 0 leaves them, 1 spreads them as wide as the vectors they foretell.
    """
    gram, total = sums.gram[np.ix_(kept, kept)], sums.gram[0, 0]
    mean, true_mean = gram[0] @ found / total, sums.cross[0] / total  # (d,)
    width = np.einsum("fd,fg,gd->", found, gram, found, optimize=True) / total - mean @ mean
    gain = (max(1 - true_mean @ true_mean, 0.0) / max(width, 1e-6)) ** (share / 2)
    out = gain * found
    out[0] += (1 - gain) * mean
    return out


def _blocks(pattern: int) -> list[str]:
    return [name for name, bit in zip(BLOCKS, BITS, strict=True) if pattern & bit]


@dataclass(frozen=True)
class ContentEncoder:
    """Gives items vectors; small arrays, to be sent to every worker.

    Attributes:
        layout: the columns.
        weights: (sets of blocks, columns, d) float32.
        seen: (blocks,) bool, whether training items had the block.
    """

    layout: ContentLayout
    weights: np.ndarray
    seen: np.ndarray

    def vectors(self, items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Encode items.

        Args:
            items: as in ``ContentLayout.rows``.

        Returns:
            (N, d) float32 of length 1, zeros where nothing is known, and known (N,) bool.
        """
        rows, present = self.layout.rows(items)
        present &= self.seen
        pattern = present @ BITS
        out = np.zeros((len(rows), self.weights.shape[2]), np.float32)
        for found in np.unique(pattern):
            chosen = pattern == found
            out[chosen] = rows[chosen] @ self.weights[found]
        creator, trusted, _ = self.layout.creator_mean(items)
        trusted = trusted[:, None]
        mixed = unit(trusted * creator + (1 - trusted) * unit(out))
        kinds = 1 + len(self.layout.kinds)
        speaks = rows[:, self.layout.slices["base"]][:, kinds:].any(axis=1)  # a known language
        known = (present.any(axis=1) | speaks) & (np.abs(mixed).sum(axis=1) > 0)
        return mixed * known[:, None], known
