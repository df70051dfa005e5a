"""How much of what simulated listeners truly like is in their vectors?

A linear probe, a ridge regression on 80 % of the users, foretells the others' mixtures over genres
from their vectors. R² is the share of the spread of mixtures between users that it tells. Beside
all representations stands what could be told at best by whoever sees the genre of every session
(``evaluation.truth``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from evaluation.contenders import BEST, MODEL
from evaluation.measured import Measured, measured
from evaluation.protocols.comparison import comparison
from evaluation.report import Table
from evaluation.truth import posterior

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.baselines import Representation

NAME = "truth"
METRIC = "R²"
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of vectors with a mean squared length of 1, per user


def recovered(
    truth: np.ndarray,
    counts: np.ndarray,
    contenders: Mapping[str, Callable[[], Representation]],
    parts: int,
    say: Callable[[str], None],
) -> list[Measured]:
    """Probe every representation.

    Args:
        truth: (U, genres) float64.
        counts: (U, counted) float64, each user's sessions by genre.
        contenders: by name what makes a representation; each is asked for once, in turn.
        parts: that the users are cut into; a probe is taught by all but the one it is asked about.
        say: told before each representation.
    """
    part = np.random.default_rng(0).permutation(len(truth)) % parts
    found = {}
    for name, make in contenders.items():
        say(name)
        found[name] = _explained(truth, part, partial(probe, make().users, truth))
    found[BEST] = _explained(truth, part, partial(posterior, counts, truth))
    return measured(NAME, {name: {METRIC: values} for name, values in found.items()}, MODEL)


def _explained(
    truth: np.ndarray, part: np.ndarray, foretell: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Each user's contribution to R², (U,): their mean is R²."""
    error, spread = np.zeros(len(truth)), np.zeros(len(truth))
    for one in np.unique(part):
        asked = part == one
        error[asked] = np.square(foretell(~asked)[asked] - truth[asked]).sum(axis=1)
        spread[asked] = np.square(truth[~asked].mean(axis=0) - truth[asked]).sum(axis=1)
    explained: np.ndarray = 1 - error / spread.mean()
    return explained


def probe(users: np.ndarray, truth: np.ndarray, teaching: np.ndarray) -> np.ndarray:
    """What a ridge regression makes of vectors, (U, genres) float64.

    Args:
        users: (U, d) float32.
        truth: (U, genres) float64.
        teaching: (U,) bool, whose truth it learns from; a fifth of them chooses the ridge.
    """
    columns = users.astype(float) / np.sqrt(np.square(users).sum(axis=1).mean() + 1e-12)
    taught = np.flatnonzero(teaching)
    choosing, fitted = taught[::5], np.delete(taught, np.s_[::5])
    errors = [
        np.square(_ridge(columns, truth, fitted, one)[choosing] - truth[choosing]).sum()
        for one in PENALTIES
    ]
    return _ridge(columns, truth, taught, PENALTIES[int(np.argmin(errors))])


def _ridge(columns: np.ndarray, truth: np.ndarray, rows: np.ndarray, penalty: float) -> np.ndarray:
    centre, mean = columns[rows].mean(axis=0), truth[rows].mean(axis=0)
    known = columns[rows] - centre
    square = known.T @ known / len(rows) + penalty / columns.shape[1] * np.eye(columns.shape[1])
    weights = np.linalg.solve(square, known.T @ (truth[rows] - mean) / len(rows))
    found: np.ndarray = (columns - centre) @ weights + mean
    return found


def truth_table(rows: Sequence[Measured]) -> Table:
    """A row for each representation, for people."""
    about = (
        "Share of the spread of true mixtures over genres that a linear probe tells of users that "
        "it was not taught with, and what could be told at best from the genres of their sessions."
    )
    return Table("What they truly like", about, *comparison(NAME, rows, {}, (METRIC,)))
