"""EASE: a linear model from items to items in closed form, cut down to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field
from scipy import linalg, sparse

from models.baselines.baseline import Baseline, padded, represent
from models.baselines.low_rank import Product, factors

if TYPE_CHECKING:
    from models.baselines.interactions import Interactions, Representation


ITEMS_AT_A_TIME = 4096


class EASE(Baseline):
    """Scores X·B where B minimises ‖X - X·B‖² + λ‖B‖² with a diagonal of zeros.

    X (users, items) is 1 where a user has played an item. With P = (XᵀX + λI)⁻¹ the solution is
    B = I - P / diag(P) (Steck, eq. 8). The vectors are X·B's best approximation of rank ``size``,
    by randomized SVD: users U·√S, items V·√S.

    Of no more than ``most_items`` users the same scores follow from a matrix of users alone: with
    K = XXᵀ + λI, X·P = K⁻¹·X and diag(P) = (1 - diag(XᵀK⁻¹X)) / λ, so that no item is left out.
    Of more, only the ``most_items`` most played items take part, and all others have zeros.
    """

    title: ClassVar[str] = "EASE"
    paper: ClassVar[str] = "Steck, WWW 2019"

    penalty: float = Field(300.0, gt=0)
    """λ, in users."""
    most_items: int = Field(10_000, gt=0)
    """Rows of the largest matrix that is inverted; 10,000 take 0.8 GB."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {"penalty": (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)}

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Solve on the smaller side, and keep ``size`` directions of the scores."""
        played = plays.counts()
        played.data[:] = 1
        rows = np.flatnonzero(~plays.silent())
        if len(rows) <= self.most_items:
            kept, scores = np.arange(plays.items), self.by_users(played[rows])
        else:
            kept = self.most_played(played)
            scores = self.by_items(played[rows][:, kept])
        left, right = factors(scores, self.size, seed)
        users = np.zeros((plays.users, self.size), np.float32)
        items = np.zeros((plays.items, self.size), np.float32)
        users[rows], items[kept] = padded(left, self.size), padded(right, self.size)
        return represent(plays, users, items)

    def most_played(self, played: sparse.csr_array) -> np.ndarray:
        """The items that most users played, ascending."""
        listeners = played.sum(axis=0)
        return np.sort(np.argsort(-listeners, kind="stable")[: self.most_items])

    def by_users(self, played: sparse.csr_array) -> Product:
        """X·B from the inverse of a (users, users) matrix."""
        inverse = _inverse((played @ played.T).toarray(), self.penalty)  # (users, users)
        scale = self.penalty / (1 - _explained(inverse, played))  # (items,) 1 / diag(P)
        back = sparse.csr_array(played.T)
        return Product(
            shape=played.shape,
            right=lambda block: played @ block - inverse @ (played @ (scale[:, None] * block)),
            left=lambda block: back @ block - scale[:, None] * (back @ (inverse @ block)),
        )

    def by_items(self, played: sparse.csr_array) -> Product:
        """X·B from the inverse of an (items, items) matrix."""
        weights = _inverse((played.T @ played).toarray(), self.penalty)  # (items, items)
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0)
        back = sparse.csr_array(played.T)
        return Product(
            shape=played.shape,
            right=lambda block: played @ (weights @ block),
            left=lambda block: weights.T @ (back @ block),
        )


def _explained(inverse: np.ndarray, played: sparse.csr_array) -> np.ndarray:
    """The diagonal of XᵀK⁻¹X, (items,), some items at a time: K⁻¹X is too large to be held."""
    columns = sparse.csc_array(played)
    parts = []
    for begin in range(0, columns.shape[1], ITEMS_AT_A_TIME):
        part = columns[:, begin : begin + ITEMS_AT_A_TIME]
        parts.append(part.multiply((part.T @ inverse).T).sum(axis=0))  # the inverse is symmetric
    return np.concatenate(parts)


def _inverse(gram: np.ndarray, penalty: float) -> np.ndarray:
    """(G + λI)⁻¹ by Cholesky, float64: a third of what a general inverse costs."""
    matrix = gram.astype(np.float64)
    matrix[np.diag_indices_from(matrix)] += penalty
    factor, _ = linalg.lapack.dpotrf(matrix, lower=True, overwrite_a=True)
    lower, _ = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    lower = np.tril(lower)
    return lower + np.tril(lower, -1).T
