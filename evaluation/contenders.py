"""The representations that a protocol compares: ours, simple averages, and learned baselines."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluation.places import item_places
from models.baselines import BASELINES, Interactions, Representation
from models.baselines.baseline import padded
from models.events import DAY
from models.features import unit
from models.history import decay
from models.layout import HALF_LIVES
from models.sums import weighted_sums
from schemas.arrow import matrix

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.cohort import Cohort
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.baselines import Baseline

MODEL = "user_model"
LOT, BEST = "lot", "best"
TITLES = {
    MODEL: "Tasteprint's user model",
    "popularity": "popularity",
    "country": "popularity within the country",
    LOT: "neighbours drawn by lot",
    BEST: "at best, from genres of sessions",
    "picks": "average of what was picked",
    "average": "average of item vectors",
    **{
        f"average_{name.removeprefix('taste_')}": f"decayed average, {days:g} days"
        for name, days in HALF_LIVES.items()
    },
    **{name: kind.title for name, kind in BASELINES.items()},
}


def user_model(lake: Lakehouse, batch: Batch, cohort: Cohort) -> Representation:
    """What the batch has published: its users' vectors, and where its model places items."""
    rows = lake.read("user_embeddings", batch, ["user_id", "embedding"])
    index = pd.Index(rows["user_id"].to_numpy(zero_copy_only=False))
    vectors = matrix(rows["embedding"].take(index.get_indexer(cohort.user_ids)))
    return Representation(vectors, item_places(lake, batch, cohort.item_ids))


def popularity(cohort: Cohort, size: int) -> Representation:
    """Log plays of each item, the same for everybody."""
    return popularity_by(cohort.plays[:, None], np.zeros(cohort.past.users, np.int64), size)


def popularity_by(plays: np.ndarray, group: np.ndarray, size: int) -> Representation:
    """Log plays of each item within the user's group.

    Args:
        plays: (I, G), at most ``size`` groups.
        group: (U,) int64, column of each user.
        size: numbers of a vector.
    """
    users = np.zeros((len(group), size), np.float32)
    users[np.arange(len(group)), group] = 1
    return Representation(users, padded(np.log1p(plays), size).astype(np.float32))


def averages(cohort: Cohort, size: int) -> dict[str, Representation]:
    """Means of the item vectors of what was played, plain and with each half-life."""
    past = cohort.past
    if not len(past.user):
        return {}
    last = np.zeros(past.users, np.int64)
    np.maximum.at(last, past.user, past.at)
    age = (last[past.user] - past.at) / DAY
    weights = {"average": np.ones(len(age))}
    weights |= {
        f"average_{name.removeprefix('taste_')}": decay(age, days)
        for name, days in HALF_LIVES.items()
    }
    items = padded(cohort.vectors, size)
    return {
        name: Representation(
            padded(
                unit(weighted_sums(cohort.vectors, past.item, past.user, weight, past.users)), size
            ),
            items,
        )
        for name, weight in weights.items()
    }


def learned(baseline: Baseline, past: Interactions, seed: int, kept: Path) -> Representation:
    """A baseline fitted to the plays, or as an earlier run of the same kept it."""
    kind = type(baseline).__name__.lower()
    file = kept / f"{kind}-{digest(baseline, past, seed)}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as found:
            return Representation(found["users"], found["items"])
    fitted = baseline.fit(past, seed)
    kept.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".partial.npz")
    np.savez(aside, users=fitted.users, items=fitted.items)
    aside.replace(file)
    return fitted


def digest(baseline: Baseline, past: Interactions, seed: int) -> str:
    """What a fit follows from, in 16 hexadecimal digits: method, settings, seed and plays."""
    told = hashlib.sha256(
        json.dumps([type(baseline).__name__, baseline.model_dump(mode="json"), seed]).encode()
    )
    for column in (past.user, past.item, past.at, past.item_tags.indices, past.user_tags.indices):
        told.update(np.ascontiguousarray(column).tobytes())
    told.update(f"{past.users} {past.items}".encode())
    return told.hexdigest()[:16]
