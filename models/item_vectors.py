"""Item vectors from co-occurrence: the arithmetic on one partition, for Spark to add up.

A row of the matrix M is an item, a column a *context*: the creator, a genre or the language of
what was played near it in the same session, or the neighbour itself where it was played often
enough. Creators and genres make a dense matrix out of sparse histories, in which two items that
never met can still be alike.

M holds shifted positive pointwise mutual information with smoothed contexts (Levy, Goldberg and
Dagan, TACL 2015), and its right singular subspace is found by block power iteration (Halko,
Martinsson and Tropp, SIAM Review 2011). Items stay where they are: only matrices of one row per
context travel.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from models.features import unit

RIDGE = 1.0  # plays' worth of doubt about the map from one space to another
# Plays that a prior is worth; chosen on the windows before the last of thirtymusic_events.
CONTENT_PRIOR = 5.0
TRAINED_PRIOR = 2.0  # also on validation plays of thirtymusic_histories, which want it small
OVERSAMPLING = 16  # columns beyond those that are kept, which make the iteration accurate


def positive_pmi(
    counts: sparse.csr_matrix,
    context_total: np.ndarray,
    block: np.ndarray,
    shift: float,
    smoothing: float,
) -> sparse.csr_matrix:
    """Shifted positive PMI of some items' counts, each block of contexts by itself.

    Args:
        counts: (items, contexts) how often each item met each context.
        context_total: (contexts,) how often each context was met by all items.
        block: (contexts,) int, the block (creators, genres, …) of each context.
        shift: its logarithm is subtracted.
        smoothing: power of ``context_total``.

    Returns:
        (items, contexts) float32, only entries above zero.
    """
    blocks = int(block.max(initial=0)) + 1
    member = sparse.csr_matrix((np.ones(len(block)), (np.arange(len(block)), block)))
    smooth = context_total**smoothing
    block_total = np.bincount(block, smooth, blocks)
    met = counts.tocoo()
    item_total = np.asarray((counts @ member).todense())[met.row, block[met.col]]
    chance = item_total * smooth[met.col] / block_total[block[met.col]]
    value = np.log(met.data / chance) - np.log(shift)
    kept = value > 0
    return sparse.csr_matrix(
        (value[kept].astype(np.float32), (met.row[kept], met.col[kept])), shape=counts.shape
    )


def start_block(contexts: int, size: int, seed: int) -> np.ndarray:
    """An orthonormal random block to begin with, (contexts, size + oversampling) float32."""
    columns = min(size + OVERSAMPLING, contexts)
    block = np.random.default_rng(seed).standard_normal((contexts, columns))
    return np.linalg.qr(block)[0].astype(np.float32)


def power_step(rows: sparse.csr_matrix, block: np.ndarray) -> np.ndarray:
    """A partition's share of MᵀM·Q, (contexts, columns) float32; the shares add up."""
    return np.asarray(rows.T @ (rows @ block), np.float32)


def gram(rows: sparse.csr_matrix, block: np.ndarray) -> np.ndarray:
    """A partition's share of (M·Q)ᵀ(M·Q), (columns, columns) float64; the shares add up."""
    projected = np.asarray(rows @ block, np.float64)
    return projected.T @ projected


def projection(block: np.ndarray, total_gram: np.ndarray, size: int) -> np.ndarray:
    """The map from contexts to vectors, (contexts, size) float32: M times it is U·Σ.

    Columns are the right singular vectors of M in falling order, each with the sign that makes its
    largest entry positive, and zeros where M has fewer.
    """
    values, vectors = np.linalg.eigh(total_gram)
    kept = np.argsort(values)[::-1][:size]
    right = block @ vectors[:, kept]  # (contexts, kept)
    largest = np.abs(right).argmax(axis=0)
    right *= np.sign(right[largest, np.arange(right.shape[1])])
    out = np.zeros((len(block), size), np.float32)
    out[:, : right.shape[1]] = right
    return out


def alignment(start: np.ndarray, moved: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The affine map that takes vectors to where they were moved, (d + 1, d) float32.

    Weighted ridge regression, for ``aligned``.

    Args:
        start: (N, d) unit vectors.
        moved: (N, d) where training took them.
        weight: (N,) how much each row counts.
    """
    rows = np.column_stack([start, np.ones(len(start))]).astype(np.float64)
    weighted = rows.T * weight
    gram = weighted @ rows + RIDGE * np.eye(rows.shape[1])
    return np.linalg.solve(gram, weighted @ moved).astype(np.float32)


def aligned(start: np.ndarray, to_moved: np.ndarray) -> np.ndarray:
    """Vectors taken to the space of others by their ``alignment``, (N, d) unit float32."""
    return unit(start @ to_moved[:-1] + to_moved[-1])


def trust(support: np.ndarray, prior: float = CONTENT_PRIOR) -> np.ndarray:
    """How far vectors of that many plays are to be believed, (N,) in [0, 1].

    Args:
        support: (N,) plays.
        prior: plays that doubt is worth.
    """
    return np.divide(support, support + prior, out=np.zeros(np.shape(support)), where=support > 0)


def trust_of_trained(support: np.ndarray) -> np.ndarray:
    """The same for a trained vector: it knows what its creator's others do, and needs less."""
    return trust(support**2, TRAINED_PRIOR**2)


def blend(vectors: np.ndarray, content: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Vectors weighted by how far they are trusted against content, (items, d) unit float32."""
    share = (trusted * (np.abs(vectors).sum(axis=1) > 0))[:, None]
    return unit(share * vectors + (1 - share) * content)
