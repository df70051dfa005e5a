"""LightFM: a user or item is the sum of the vectors of what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from models.baselines.baseline import Baseline, library
from models.baselines.interactions import Representation

if TYPE_CHECKING:
    from models.baselines.interactions import Interactions


class LightFM(Baseline):
    """LightFM with WARP loss (Weston, Bengio and Usunier, IJCAI 2011) and AdaGrad.

    Everybody has an indicator of his own beside his tags. Its score q·p + b_user + b_item is one
    dot product of vectors two numbers longer::

        user = [q, b_user, 1]    item = [p, 1, b_item]

    so ``size`` - 2 are left for q and p. A silent user's own indicator has learned nothing: he is
    the sum of his tags, and all zeros without any.
    """

    title: ClassVar[str] = "LightFM"
    paper: ClassVar[str] = "Kula, CBRecSys 2015"

    epochs: int = Field(30, gt=0)
    """Passes over what was played."""
    learning_rate: float = Field(0.01, gt=0)
    """First step of AdaGrad."""
    max_sampled: int = Field(10, gt=0)
    """Negatives that are tried for each play until one outranks it."""
    penalty: float = Field(0.0, ge=0)
    """Weight of the squared length of the vectors of indicators and tags."""
    threads: int = Field(1, gt=0)
    """Threads; more than one write into each other's vectors, and no run repeats another."""

    @classmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from."""
        return {
            "epochs": (10, 20, 30),
            "learning_rate": (0.005, 0.01, 0.02, 0.05),
            "max_sampled": (5, 10, 30),
            "penalty": (0.0, 1e-6, 1e-5, 1e-4),
        }

    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Train, and fold the biases into the vectors."""
        user_features, item_features = _features(plays.user_tags), _features(plays.item_tags)
        model = library("lightfm", "lightfm").LightFM(
            no_components=self.size - 2,
            loss="warp",
            learning_rate=self.learning_rate,
            max_sampled=self.max_sampled,
            user_alpha=self.penalty,
            item_alpha=self.penalty,
            random_state=seed,
        )
        played = _matrix(plays.counts().sign())
        model.fit(
            played, user_features, item_features, epochs=self.epochs, num_threads=self.threads
        )
        known = _features(plays.user_tags, own=~plays.silent())
        users = _with_bias(*model.get_user_representations(known), bias_first=True)
        users[plays.silent() & (plays.user_tags.sum(axis=1) == 0)] = 0
        items = _with_bias(*model.get_item_representations(item_features), bias_first=False)
        return Representation(users, items)


def _features(tags: sparse.csr_array, own: np.ndarray | None = None) -> sparse.csr_matrix:
    """An indicator of each row's own, where it has one, beside its tags, (N, N + T) float32."""
    diagonal = np.ones(tags.shape[0]) if own is None else own
    beside = sparse.hstack([sparse.diags_array(diagonal.astype(np.float32)), tags])
    return _matrix(sparse.csr_array(beside))


def _matrix(rows: sparse.csr_array) -> sparse.csr_matrix:
    """As LightFM's compiled code reads it: float32 at places of 32 bits."""
    places = rows.indices.astype(np.int32), rows.indptr.astype(np.int32)
    return sparse.csr_matrix((rows.data.astype(np.float32), *places), shape=rows.shape)


def _with_bias(bias: np.ndarray, vectors: np.ndarray, *, bias_first: bool) -> np.ndarray:
    ones = np.ones_like(bias)
    columns = (bias, ones) if bias_first else (ones, bias)
    return np.column_stack([vectors, *columns]).astype(np.float32)
