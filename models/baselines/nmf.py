"""Non-negative matrix factorization of play counts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.baselines.baseline import Baseline, library, padded, represent

if TYPE_CHECKING:
    from models.baselines.interactions import Interactions, Representation


class NMF(Baseline):
    """scikit-learn's ``NMF`` of log(1 + count), unplayed items being zeros.

    By coordinate descent for the squared error, by Lee and Seung's multiplicative updates for the
    divergence. Cornac's NMF fits only observed ratings, which here are all plays: it could not tell
    them from what was not played.
    """

    title: ClassVar[str] = "NMF"
    paper: ClassVar[str] = "Lee and Seung, NIPS 2000"

    loss: Literal["frobenius", "kullback-leibler"] = "frobenius"
    """The product's distance from the counts: squared error, or that of Poisson counts."""
    penalty: float = Field(0.0, ge=0)
    """Weight of the squared length of vectors, as a multiple of the matrix' rows and columns."""
    iterations: int = Field(40, gt=0)
    """Sweeps over all vectors."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {
            "loss": ("frobenius", "kullback-leibler"),
            "penalty": (0.0, 1e-5, 1e-4, 1e-3),
            "iterations": (20, 40, 80),
        }

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Factorize; more columns than the matrix has rows or columns would be arbitrary."""
        amounts = plays.counts().log1p()  # (users, items)
        size = min(self.size, *amounts.shape)
        model = library("sklearn.decomposition").NMF(
            size,
            init="random",
            solver="cd" if self.loss == "frobenius" else "mu",
            beta_loss=self.loss,
            alpha_W=self.penalty,
            max_iter=self.iterations,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge: so few sweeps are a choice
            users = model.fit_transform(amounts)  # (users, size)
        items = model.components_.T  # (items, size)
        return represent(plays, padded(users, self.size), padded(np.asarray(items), self.size))
