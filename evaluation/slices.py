"""Whom the representation serves worse than the rest: AUC by slices of the users."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluation.metrics import bootstrap_interval

if TYPE_CHECKING:
    from evaluation.cohort import Cohort
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

BEHIND = 0.1  # of what the whole is above chance; a slice that lacks more is marked
FEWEST = 20  # users of a slice
ACTIVITY = (0, 10, 50, 200)  # plays before as_of
AGES = (0, 30, 365)  # days since registration
CHANCE = 0.5


@dataclass(frozen=True)
class Slice:
    """Some of the users.

    Attributes:
        kind, name: what they have in common, for example ``country`` and ``SE``.
        users: how many were asked.
        auc, low, high: their mean, and its 95 % bootstrap interval.
        behind: whether they fall more than ``BEHIND`` behind the whole.
    """

    kind: str
    name: str
    users: int
    auc: float
    low: float
    high: float
    behind: bool


def sliced(lake: Lakehouse, batch: Batch, cohort: Cohort, auc: np.ndarray) -> list[Slice]:
    """AUC by activity, and by country and age of the account where the data has them.

    Args:
        lake: the lakehouse.
        batch: whose users they are.
        cohort: the users.
        auc: (U,) float64 of each, NaN for who was not asked.
    """
    asked = ~np.isnan(auc)
    bound = CHANCE + (1 - BEHIND) * (float(auc[asked].mean()) - CHANCE)
    kinds = {"plays before": _activity(cohort), **_told(lake, batch, cohort)}
    found = []
    for kind, names in kinds.items():
        for name in sorted(names[asked].dropna().unique(), key=str):
            values = auc[asked & (names == name).fillna(value=False).to_numpy(bool)]
            if len(values) >= FEWEST:
                interval = bootstrap_interval(values, 0, 1000)
                mean = float(values.mean())
                found.append(Slice(kind, str(name), len(values), mean, *interval, mean < bound))
    return found


def _activity(cohort: Cohort) -> pd.Series:
    plays = np.bincount(cohort.past.user, minlength=cohort.past.users)
    return _bands(pd.Series(plays), ACTIVITY, "plays")


def _told(lake: Lakehouse, batch: Batch, cohort: Cohort) -> dict[str, pd.Series]:
    if not batch.has("users"):
        return {}
    rows = lake.read("users", batch, ["user_id", "country", "registered_at"]).to_pandas()
    rows = rows.drop_duplicates("user_id").set_index("user_id").reindex(cohort.user_ids)
    age = (pd.Timestamp(batch.as_of) - pd.to_datetime(rows["registered_at"], utc=True)).dt.days
    told = {
        "country": rows["country"].astype("string"),
        "age of the account": _bands(age, AGES, "days"),
    }
    return {kind: names.reset_index(drop=True) for kind, names in told.items()}


def _bands(values: pd.Series, begins: tuple[int, ...], unit: str) -> pd.Series:
    names = [f"{low} to {high - 1} {unit}" for low, high in pairwise(begins)]
    edges = [*begins, np.inf]
    return pd.cut(
        values, edges, right=False, labels=[*names, f"{begins[-1]} {unit} or more"]
    ).astype("string")
