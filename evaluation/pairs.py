"""Pairs of a user and an item, and whether the one played the other: the questions of a test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

SPARE = 3  # draws for each negative that is wanted, for some will have been played


@dataclass(frozen=True)
class Question:
    """Who is asked what; users and items are row numbers.

    Attributes:
        positives: for each user the items played within the horizon, distinct.
        excluded: for each user the items that cannot be negatives: all it has played.
        weight: (I,) float64, how often each item is drawn as a negative.
    """

    positives: Sequence[np.ndarray]
    excluded: Sequence[np.ndarray]
    weight: np.ndarray

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.cumsum(self.weight / self.weight.sum())

    def negatives(self, row: int, draws: int, rng: np.random.Generator) -> np.ndarray:
        """What is left of so many draws of items for a user, repeats included, int64."""
        drawn = np.searchsorted(self._cumulative, rng.random(draws))
        drawn = drawn.clip(max=len(self.weight) - 1)  # the last sum may be a hair below 1
        return drawn[~np.isin(drawn, self.excluded[row])]


@dataclass(frozen=True)
class Pairs:
    """Questions with their answers; all arrays (N,), users ascending.

    Attributes:
        user, item: int64 row numbers.
        played: bool.
    """

    user: np.ndarray
    item: np.ndarray
    played: np.ndarray

    def weight(self) -> np.ndarray:
        """What makes every user count 1, half of it for what was played, (N,) float64."""
        cell = self.user * 2 + self.played
        return 0.5 / np.bincount(cell)[cell]

    def where(self, chosen: np.ndarray) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.user[chosen], self.item[chosen], self.played[chosen])

    def at_most(self, count: int, rng: np.random.Generator) -> Pairs:
        """So many pairs of each user and answer, drawn at random."""
        cell = self.user * 2 + self.played
        order = np.lexsort((rng.random(len(cell)), cell))
        rank = np.arange(len(cell)) - np.searchsorted(cell[order], cell[order])
        return self.where(np.sort(order[rank < count]))


def draw_pairs(question: Question, each: int, rng: np.random.Generator) -> Pairs:
    """At most ``each`` positives and negatives of every user; who lacks either is left out."""
    users, items, played = [], [], []
    for row, own in enumerate(question.positives):
        liked = own if len(own) <= each else rng.choice(own, each, replace=False)
        drawn = question.negatives(row, SPARE * each, rng)[:each]
        if len(liked) and len(drawn):
            users.append(np.full(len(liked) + len(drawn), row))
            items.append(np.concatenate([liked, drawn]))
            played.append(np.arange(len(liked) + len(drawn)) < len(liked))
    if not users:
        return Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, bool)))
    return Pairs(np.concatenate(users), np.concatenate(items), np.concatenate(played))


def shuffled(question: Question, rng: np.random.Generator) -> Question:
    """Everybody's futures in one pot, and everybody given as many draws from it as before.

    Nothing can tell such a future: whoever does learns from what it should not see. Negatives come
    from the same pot, and what a user has played is neither, for that alone would be told from the
    rest. Draws are put back: dealt out, an item that is seen less often among the users of whom a
    head learns would be seen the more among the others, and AUC would lie below one half.
    """
    pot = np.concatenate([*question.positives, []]).astype(np.int64)
    draws = [rng.choice(pot, len(own)) for own in question.positives]
    positives = [
        drawn[~np.isin(drawn, excluded)]
        for drawn, excluded in zip(draws, question.excluded, strict=True)
    ]
    weight = np.bincount(pot, minlength=len(question.weight)).astype(float)
    return Question(positives, question.excluded, weight)
