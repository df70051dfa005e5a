"""Weighted matrix factorization for implicit feedback, by alternating least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import sparse
from threadpoolctl import threadpool_limits

from models.baselines.baseline import Baseline, library, represent

if TYPE_CHECKING:
    from models.baselines.interactions import Interactions, Representation


class ALS(Baseline):
    """``implicit``'s ``AlternatingLeastSquares``.

    Everything unplayed is a zero of confidence 1, every play a one of confidence 1 + alpha · n,
    where n is the count of plays or its logarithm. Rows are solved one by one: threads change
    nothing in the result.
    """

    title: ClassVar[str] = "ALS"
    paper: ClassVar[str] = "Hu, Koren and Volinsky, ICDM 2008"

    alpha: float = Field(30.0, gt=0)
    """Confidence that a play is worth."""
    scale: Literal["log", "count"] = "count"
    """Whether n is log(1 + count) or the count."""
    regularization: float = Field(10.0, ge=0)
    """Weight of the squared length of vectors."""
    iterations: int = Field(30, gt=0)
    """Times that users and items are solved for."""
    threads: int = Field(2, ge=0)
    """Threads of the solver; 0 for as many as there are cores."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {
            "alpha": (1.0, 3.0, 10.0, 30.0, 100.0),
            "scale": ("log", "count"),
            "regularization": (0.1, 1.0, 10.0, 30.0, 100.0),
            "iterations": (10, 15, 30),
        }

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Alternate between users and items."""
        als = library("implicit.cpu.als")
        # BLAS threads inside the solver's own make it many times slower.
        with threadpool_limits(1, "blas"):
            model = als.AlternatingLeastSquares(
                self.size,
                alpha=1.0,  # confidence is made here
                regularization=self.regularization,
                iterations=self.iterations,
                random_state=seed,
                num_threads=self.threads,
            )
            model.fit(self.confidence(plays), show_progress=False)
        return represent(plays, model.user_factors, model.item_factors)

    def confidence(self, plays: Interactions) -> sparse.csr_matrix:
        """Confidence in what was played, (users, items) float32; elsewhere it is 1."""
        counts = plays.counts()
        amount = np.log1p(counts.data) if self.scale == "log" else counts.data
        counts.data = (1 + self.alpha * amount).astype(np.float32)
        return sparse.csr_matrix(counts)  # implicit knows no sparse arrays
