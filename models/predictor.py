"""The one class that turns feature rows into vectors, for batch and for serving alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from models.checkpoint import load_model

if TYPE_CHECKING:
    from models.layout import FeatureLayout

HISTORY_GROUPS = ("taste_180d", "creators", "amounts")


class UserPredictor:
    """Embeds users with the model of one batch.

    Args:
        uri: where the model lies.
        layout: of the rows that it will be given, if they are not known to fit.
    """

    def __init__(self, uri: str, layout: FeatureLayout | None = None) -> None:
        self.model = load_model(uri, layout)

    @torch.inference_mode()
    def embed(self, features: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Vectors of users.

        Args:
            features: (B, layout.width) float32.
            present: (B, groups) float32 of 0 and 1.

        Returns:
            (B, size) float32, rows of length 1.
        """
        users = self.model.users(torch.tensor(features), torch.tensor(present))
        return users.numpy()

    @torch.inference_mode()
    def place_items(self, vectors: np.ndarray, plays: np.ndarray) -> np.ndarray:
        """Items on the users' sphere.

        Args:
            vectors: (N, VECTOR_SIZE) float32.
            plays: (N,) how often each was played, the ``support`` of ``track_vectors``.

        Returns:
            (N, size) float32, rows of length 1.
        """
        known = self.model.codebook(torch.tensor(vectors), torch.tensor(plays))
        return self.model.items(known).numpy()

    def status(self, present: np.ndarray) -> np.ndarray:
        """``established`` for rows with any history, else ``cold_start``, (B,) str."""
        names = self.model.config.layout.names
        columns = [names.index(name) for name in HISTORY_GROUPS]
        heard = present[:, columns].any(axis=1)
        return np.where(heard, "established", "cold_start")
