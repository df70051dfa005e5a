"""What every baseline is: hyperparameters, a space to search them in, and ``fit``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.baselines.interactions import Interactions, Representation
from schemas.errors import TasteprintError


class Baseline(BaseModel, ABC):
    """Hyperparameters of one method, and the way from plays to vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    title: ClassVar[str]
    """The method's name, as tables print it."""
    paper: ClassVar[str]
    """Who proposed it, and where."""

    size: int = Field(128, ge=4)
    """Numbers of a vector."""

    @abstractmethod
    def fit(self, plays: Interactions, seed: int) -> Representation:
        """Learn from plays alone; the same seed gives the same vectors.

        Returns:
            Vectors of every user and item. Users who have played nothing have zeros, unless the
            method reads tags and knows theirs.
        """

    @classmethod
    @abstractmethod
    def space(cls) -> dict[str, tuple[Any, ...]]:
        """What a search chooses from, by the name of the field."""


def library(name: str, extra: str = "evaluation") -> Any:
    """A library that only some baselines need, or an error that says how to install it."""
    try:
        return import_module(name)
    except ImportError as missing:
        raise TasteprintError(
            f"{name} cannot be imported ({missing}); install it: pip install 'tasteprint[{extra}]'"
        ) from missing


def represent(plays: Interactions, users: np.ndarray, items: np.ndarray) -> Representation:
    """Vectors of a method that knows users by their plays alone: zeros for who has none.

    Args:
        plays: tell who has played nothing.
        users: (users, size).
        items: (items, size).
    """
    heard = ~plays.silent()[:, None]  # (users, 1)
    return Representation(
        np.where(heard, users, 0).astype(np.float32), np.asarray(items, np.float32)
    )


def padded(columns: np.ndarray, size: int) -> np.ndarray:
    """The same rows with zeros behind them, (N, size): fewer columns were to be found."""
    return np.pad(columns, ((0, 0), (0, size - columns.shape[1])))
