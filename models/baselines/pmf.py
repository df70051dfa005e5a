"""Probabilistic matrix factorization, with ratings made of plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.baselines.baseline import Baseline, library, represent
from models.baselines.negatives import Unplayed

if TYPE_CHECKING:
    from models.baselines.interactions import Interactions, Representation


class PMF(Baseline):
    """Cornac's ``PMF``.

    It was made for ratings, and of plays alone it learns that everything is liked. So we make
    ratings: a played item has log(1 + count) over its maximum, raised to ``contrast``, and for
    each there are ``zeros`` items drawn once from those that the user has not played, rated 0. The
    fit is stochastic gradient descent on one thread, over these ratings in one random order.
    """

    title: ClassVar[str] = "PMF"
    paper: ClassVar[str] = "Salakhutdinov and Mnih, NIPS 2007"

    zeros: int = Field(3, gt=0)
    """Unplayed items for each played one."""
    zeros_power: float = Field(1.0, ge=0)
    """Power of an item's plays in its chance to be such a zero."""
    contrast: float = Field(0.0, ge=0)
    """How much more plays raise a rating; 0 rates all that was played 1."""
    variant: Literal["linear", "non_linear"] = "linear"
    """Whether the dot product is the rating, or its logit."""
    epochs: int = Field(10, gt=0)
    """Passes over the ratings."""
    learning_rate: float = Field(0.003, gt=0)
    """Step of RMSProp."""
    regularization: float = Field(0.03, ge=0)
    """Weight of the squared length of vectors, for each rating."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {
            "zeros": (1, 3, 5),
            "zeros_power": (0.0, 0.5, 0.75, 1.0),
            "contrast": (0.0, 0.5, 1.0),
            "variant": ("linear", "non_linear"),
            "epochs": (10, 20),
            "learning_rate": (1e-3, 3e-3, 1e-2),
            "regularization": (1e-3, 1e-2, 3e-2, 1e-1),
        }

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Rate, and factorize the ratings."""
        user, item, rating = self.ratings(plays, np.random.default_rng(seed))
        data = library("cornac.data").Dataset(
            plays.users, plays.items, {}, {}, (user, item, rating), seed=seed
        )
        model = library("cornac.models").PMF(
            k=self.size,
            max_iter=self.epochs,
            learning_rate=self.learning_rate,
            lambda_reg=self.regularization,
            variant=self.variant,
            seed=seed,
        )
        model.fit(data)
        return represent(plays, model.U, model.V)

    def ratings(
        self, plays: Interactions, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What was played and what was not, in random order: user, item and rating in [0, 1]."""
        counts = plays.counts().tocoo()
        user, item = (part.astype(np.int64) for part in counts.coords)
        liked = np.log1p(counts.data)
        rated = (liked / liked.max()) ** self.contrast
        many = np.repeat(user, self.zeros)
        kept, unplayed = Unplayed(plays, self.zeros_power).draw(many, rng)
        order = rng.permutation(len(user) + len(kept))
        return (
            np.concatenate([user, many[kept]])[order],
            np.concatenate([item, unplayed])[order],
            np.concatenate([rated, np.zeros(len(kept))])[order],
        )
