"""What simulated listeners truly like, and how well it could be told from what they played.

The simulator draws every session's genre from the listener's own mixture over genres. Whoever sees
which genre each session had, and knows how mixtures are spread, can do no better than the mean of
the posterior: for a mixture from a Dirichlet distribution that is the counts, moved towards what is
common the more the fewer there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from models.events import SECOND
from schemas.arrow import matrix
from schemas.errors import InputError

if TYPE_CHECKING:
    from evaluation.cohort import Cohort
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

SILENCE = 30 * 60 * SECOND  # ends a session
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)  # of the prior, in sessions


def read_truth(folder: str, user_ids: np.ndarray) -> np.ndarray:
    """What the users like at the end of the simulation, (U, genres) float64; rows add up to 1.

    Args:
        folder: the simulation's ``truth``: Parquet with ``user_id`` and ``end``.
        user_ids: (U,) str.

    Raises:
        InputError: there is no such folder, it is none of a simulation, or lacks a user.
    """
    try:
        table = ds.dataset(folder, format="parquet").to_table(columns=["user_id", "end"])
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not the truth of a simulation: {error}") from error
    rows = pd.Index(table["user_id"].to_numpy(zero_copy_only=False)).get_indexer(user_ids)
    if (rows < 0).any():
        raise InputError(
            f"{folder} knows {(rows >= 0).sum():,} of {len(rows):,} users: is it of another "
            "simulation?"
        )
    return matrix(table["end"].combine_chunks())[rows].astype(float)


def genres_heard(lake: Lakehouse, batch: Batch, cohort: Cohort) -> np.ndarray:
    """Sessions of each user by the genre that they begin with, (U, genres) float64."""
    told = lake.read("items", batch, ["item_id", "genres"]).to_pandas().drop_duplicates("item_id")
    first = told.set_index("item_id")["genres"].str[0].reindex(cohort.item_ids)
    genre, names = pd.factorize(first, sort=True)
    past = cohort.past
    same = np.diff(past.user, prepend=-1) == 0
    begins = ~same | (np.diff(past.at, prepend=0) > SILENCE)
    begins &= genre[past.item] >= 0
    cell = past.user[begins] * len(names) + genre[past.item[begins]]
    counted = np.bincount(cell, minlength=past.users * len(names))
    return counted.reshape(past.users, len(names)).astype(float)


def posterior(counts: np.ndarray, truth: np.ndarray, teaching: np.ndarray) -> np.ndarray:
    """Mean of what everybody may like, given the counts, (U, genres) float64.

    Args:
        counts: (U, counted) sessions by genre.
        truth: (U, genres); genres need not be in the order of the counts.
        teaching: (U,) bool, whose truth says what is common, which genre is which, and how far
            to believe counts.
    """
    common = truth[teaching].mean(axis=0)
    counts = counts @ _same_genre(counts[teaching], truth[teaching])
    sessions = counts.sum(axis=1, keepdims=True)
    means = [(counts + weight * common) / (sessions + weight) for weight in STRENGTHS]
    errors = [np.square(mean[teaching] - truth[teaching]).sum() for mean in means]
    return means[int(np.argmin(errors))]


def _same_genre(counts: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which counted genre is which true one, by who has much of it, (counted, genres) 0 or 1."""
    from scipy.optimize import linear_sum_assignment

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    together = (shares - shares.mean(axis=0)).T @ (truth - truth.mean(axis=0))
    counted, true = linear_sum_assignment(-together)
    found = np.zeros(together.shape)
    found[counted, true] = 1.0
    return found
