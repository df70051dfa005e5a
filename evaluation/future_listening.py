"""Will a user listen to this track in the days to come? The published test, on a batch.

For each user the tracks played within the horizon after ``as_of`` are told from tracks that the
user has not played, drawn in proportion to popularity; AUC per user, then the mean over users. The
promoted vectors are compared with popularity and with averages of the same item vectors, user by
user, so that the bootstrap interval of the difference says whether one is better.

Popularity is counted in two ways, which answer two questions:

* ``before``: plays before ``as_of``. All positives had been played by somebody by then, too.
* ``after``: what the other users play within the horizon. New tracks are among positives and
  negatives alike, and the popularity baseline is left with nothing to go by.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from evaluation.metrics import auc, bootstrap_interval
from evaluation.pairs import Question
from evaluation.places import item_places
from models.features import unit
from models.layout import HALF_LIVES, FeatureLayout
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

MODEL = "promoted vectors"
POPULARITY = "popularity"
AVERAGE = "average of item vectors"
LIVE = "the live batch's vectors"
MAX_USERS = 5_000
NEGATIVES = 1_000  # per user

Drawn = Literal["before", "after"]


@dataclass(frozen=True)
class Scores:
    """How each contender sees users and items: the score is their dot product.

    Attributes:
        users: by contender, (U, d) float32.
        items: by contender, (I, d) float32.
    """

    users: Mapping[str, np.ndarray]
    items: Mapping[str, np.ndarray]


def per_user_auc(task: Question, scores: Scores, seed: int) -> dict[str, np.ndarray]:
    """AUC of each contender for each user, (U,) each; all contenders see the same negatives."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in scores.users}
    for row, own in enumerate(task.positives):
        drawn = task.negatives(row, NEGATIVES, rng)
        for name, users in scores.users.items():
            items = scores.items[name]
            if len(drawn):
                found[name].append(auc(items[own] @ users[row], items[drawn] @ users[row]))
            else:
                found[name].append(0.5)
    return {name: np.array(values) for name, values in found.items()}


def compare(by_user: Mapping[str, np.ndarray], seed: int) -> list[dict[str, Any]]:
    """Mean AUC of each contender, and how much better the promoted vectors are, with interval."""
    rows = []
    for name, values in by_user.items():
        difference = by_user[MODEL] - values
        rows.append(
            {
                "name": name,
                "auc": float(values.mean()),
                "difference": None if name == MODEL else float(difference.mean()),
                "interval": None if name == MODEL else bootstrap_interval(difference, seed),
            }
        )
    return rows


def future_listening(
    lake: Lakehouse, batch: Batch, horizon_days: float, drawn: Drawn, seed: int
) -> dict[str, Any] | None:
    """Run the test on a batch; None where nobody it knows has played anything since.

    Returns:
        users, positives, as_of, horizon_days, drawn, and a row per contender as in ``compare``.
    """
    items = lake.read("track_vectors", batch, ["item_id", "vector", "support"])
    index = pd.Index(items["item_id"].to_numpy(zero_copy_only=False))
    plays = read_plays(lake, batch, horizon_days, index, seed)
    if plays is None:
        return None
    support = items["support"].to_numpy().astype(float)
    task, users = task_of(plays, support, drawn)
    if not users:
        return None
    by_user = per_user_auc(task, _scores(lake, batch, users, plays, items), seed)
    return {
        "as_of": f"{batch.as_of:%Y-%m-%d %H:%M} UTC",
        "horizon_days": horizon_days,
        "drawn": drawn,
        "users": len(users),
        "positives": int(sum(len(own) for own in task.positives)),
        "rows": compare(by_user, seed),
    }


def beside_live(
    lake: Lakehouse, batch: Batch, horizon_days: float, seed: int
) -> dict[str, Any] | None:
    """Run the test on a batch and on the live one, over the users and items that both know.

    Returns:
        users, and a row for each of the two as in ``compare``; None where there is no live batch,
        or nothing to compare.
    """
    live = next((one for one in lake.batches.list() if one.state == "live"), None)
    if live is None or "user_embeddings" not in live.tables:
        return None
    columns = ["item_id", "vector", "support"]
    ours, theirs = (lake.read("track_vectors", one, columns) for one in (batch, live))
    ours = ours.filter(pc.is_in(ours["item_id"], theirs["item_id"])).sort_by("item_id")
    theirs = theirs.filter(pc.is_in(theirs["item_id"], ours["item_id"])).sort_by("item_id")
    index = pd.Index(ours["item_id"].to_numpy(zero_copy_only=False))
    known = lake.read("user_embeddings", live, ["user_id"])["user_id"].to_numpy()
    plays = read_plays(lake, batch, horizon_days, index, seed, among=known)
    if plays is None:
        return None
    task, users = task_of(plays, ours["support"].to_numpy().astype(float), "after")
    if not users:
        return None
    scores = Scores(
        users={
            MODEL: _rows_of(lake, batch, "user_embeddings", "embedding", users),
            LIVE: _rows_of(lake, live, "user_embeddings", "embedding", users),
        },
        items={
            MODEL: item_places(lake, batch, index.to_numpy()),
            LIVE: item_places(lake, live, index.to_numpy()),
        },
    )
    return {"users": len(users), "rows": compare(per_user_auc(task, scores, seed), seed)}


def read_plays(
    lake: Lakehouse,
    batch: Batch,
    horizon_days: float,
    index: pd.Index,
    seed: int,
    among: np.ndarray | None = None,
) -> pd.DataFrame | None:
    """Every play of some of the users who have an embedding and play after ``as_of``.

    Args:
        lake: the lakehouse.
        batch: whose inputs and users are read.
        horizon_days: how long after ``as_of`` plays count.
        index: ids of the items that count.
        seed: of the choice of users, where there are more than ``MAX_USERS``.
        among: ids of the users to choose from; everybody if None.

    Returns:
        user_id, item (row of ``track_vectors``), later (whether after ``as_of``).
    """
    end = batch.as_of + timedelta(days=horizon_days)
    listens = lake.dataset("listens", batch)
    columns = ["user_id", "item_id", "played_at"]
    after = listens.to_table(
        columns=columns,
        filter=(pc.field("played_at") >= batch.as_of) & (pc.field("played_at") < end),
    )
    embedded = lake.read("user_embeddings", batch, ["user_id", "status"])
    embedded = embedded.filter(pc.equal(embedded["status"], "established"))["user_id"]
    active = np.intersect1d(pc.unique(after["user_id"]).to_numpy(zero_copy_only=False), embedded)
    if among is not None:
        active = np.intersect1d(active, among)
    if not len(active):
        return None
    rng = np.random.default_rng(seed)
    chosen = rng.choice(active, min(len(active), MAX_USERS), replace=False)
    known = pc.field("played_at") < end
    rows = listens.to_table(columns=columns, filter=pc.field("user_id").isin(list(chosen)) & known)
    frame = rows.to_pandas()
    frame["later"] = frame["played_at"] >= pd.Timestamp(batch.as_of)
    frame["item"] = index.get_indexer(frame["item_id"])
    return frame[frame["item"] >= 0][["user_id", "item", "later"]]


def task_of(plays: pd.DataFrame, support: np.ndarray, drawn: Drawn) -> tuple[Question, list[str]]:
    """Who is asked what.

    Args:
        plays: as ``read_plays`` gives them.
        support: (I,) plays of each item before ``as_of``.
        drawn: how negatives are.

    Returns:
        the task, and its users in order.
    """
    later = plays[plays["later"]]
    if drawn == "after":
        weight = np.bincount(later["item"], minlength=len(support)).astype(float)
        wanted = later
    else:
        weight = support
        wanted = later[support[later["item"]] > 0]
    own = wanted.groupby("user_id")["item"].unique()
    heard = plays.groupby("user_id")["item"].unique()
    users = list(own.index)
    return Question(list(own), [heard[user] for user in users], weight), users


def _scores(
    lake: Lakehouse, batch: Batch, users: list[str], plays: pd.DataFrame, items: Any
) -> Scores:
    vectors = matrix(items["vector"])
    popularity = np.log1p(items["support"].to_numpy())[:, None].astype(np.float32)
    layout = FeatureLayout.model_validate_json(batch.layout or "")
    embedded = _rows_of(lake, batch, "user_embeddings", "embedding", users)
    features = _rows_of(lake, batch, "user_features", "features", users)
    averages = {AVERAGE: _plain_mean(plays, users, vectors)}
    for name in HALF_LIVES:
        averages[f"{AVERAGE}, {name.removeprefix('taste_')}"] = features[:, layout[name].slice]
    return Scores(
        users={
            MODEL: embedded,
            POPULARITY: np.ones((len(users), 1), np.float32),
            **averages,
        },
        items={
            MODEL: item_places(lake, batch, items["item_id"].to_numpy()),
            POPULARITY: popularity,
            **dict.fromkeys(averages, vectors),
        },
    )


def _plain_mean(plays: pd.DataFrame, users: list[str], vectors: np.ndarray) -> np.ndarray:
    """Mean item vector of every play before ``as_of``, (U, d) unit float32."""
    before = plays[~plays["later"]]
    row = pd.Index(users).get_indexer(pd.Index(before["user_id"]))
    total = np.zeros((len(users), vectors.shape[1]), np.float32)
    known = row >= 0
    np.add.at(total, row[known], vectors[before["item"].to_numpy()[known]])
    return unit(total)


def _rows_of(
    lake: Lakehouse, batch: Batch, table: str, column: str, users: list[str]
) -> np.ndarray:
    rows = lake.read(table, batch, ["user_id", column])
    place = pd.Index(rows["user_id"].to_numpy(zero_copy_only=False)).get_indexer(users)
    return matrix(rows[column].take(place))
