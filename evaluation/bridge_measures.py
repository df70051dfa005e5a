"""How much of an old space is kept by those who are given vectors of a new one.

Four readers are compared, user by user, all of them made for the old space but the last:

* ``OLD``: has the old vectors.
* ``BRIDGE``: reads the new ones through a bridge.
* ``NO_BRIDGE``: reads the new ones as if there were no difference.
* ``NEW``: has moved to the new batch, its tracks included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from evaluation.future_listening import Scores, per_user_auc, read_plays, task_of
from evaluation.metrics import auc, bootstrap_interval
from evaluation.places import item_places
from lakehouse.drift import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

OLD, BRIDGE, NO_BRIDGE, NEW = "old vectors", "through the bridge", "no bridge", "new batch itself"
NEIGHBOURS = 10
NEIGHBOURHOODS = 2_000  # users among whom neighbours are looked for
GENRES = 100  # that the small model foretells, the most played ones
RIDGE = 1.0  # as if one more unit vector lay along each dimension


@dataclass(frozen=True)
class Pairs:
    """The same users, or the same tracks, in two spaces.

    Attributes:
        ids: (N,) str.
        new, old: (N, d) float32 unit rows.
    """

    ids: np.ndarray
    new: np.ndarray
    old: np.ndarray

    def where(self, chosen: np.ndarray) -> Pairs:
        """Some of them, by a mask or by rows."""
        return Pairs(self.ids[chosen], self.new[chosen], self.old[chosen])

    def readers(self, rotation: np.ndarray) -> dict[str, np.ndarray]:
        """The vectors that a consumer of the old space is given, by reader, (N, d) each."""
        return {OLD: self.old, BRIDGE: self.new @ rotation, NO_BRIDGE: self.new}


@dataclass(frozen=True)
class Trial:
    """A map between two batches, and whom it is measured on.

    Attributes:
        new, old: the batch that is read, and the one that readers are made for.
        fitted, tested: the users of both on whom it was fitted, and those on whom it was not.
        tracks: of both, placed among their users.
        rotation: (d, d) float32, from the new space into the old.
    """

    new: Batch
    old: Batch
    fitted: Pairs
    tested: Pairs
    tracks: Pairs
    rotation: np.ndarray


def measures(
    lake: Lakehouse, trial: Trial, horizon_days: float, seed: int
) -> dict[str, dict[str, Any]]:
    """Each measure by name, on held-out users, ready for JSON; none where there is nobody."""
    found = {
        "cosine": cosines(trial.tested, trial.rotation),
        "neighbours": neighbours_kept(trial.tested, trial.rotation),
        "future_listening": future_aucs(lake, trial, horizon_days, seed),
        "genres": genre_aucs(lake, trial),
    }
    return {
        name: compared(by_reader, seed)
        for name, by_reader in found.items()
        if by_reader and len(by_reader[BRIDGE])
    }


def compared(by_reader: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Means over users, and what each reader loses against the old vectors, with intervals.

    Args:
        by_reader: (U,) of each, the same users.
        seed: of the bootstrap.
    """
    rows = []
    for name, values in by_reader.items():
        row = {"name": name, "value": float(values.mean())}
        row["interval"] = bootstrap_interval(values, seed)
        if OLD in by_reader and name != OLD:
            loss = by_reader[OLD] - values
            row |= {"loss": float(loss.mean()), "loss_interval": bootstrap_interval(loss, seed)}
        rows.append(row)
    return {"users": len(by_reader[BRIDGE]), "rows": rows}


def cosines(tested: Pairs, rotation: np.ndarray) -> dict[str, np.ndarray]:
    """Cosine of what each reader is given with the old vector, (U,) each."""
    seen = tested.readers(rotation)
    return {name: np.einsum("nd,nd->n", seen[name], seen[OLD]) for name in (BRIDGE, NO_BRIDGE)}


def neighbours_kept(tested: Pairs, rotation: np.ndarray) -> dict[str, np.ndarray]:
    """Share of each user's nearest in the old space that are still the nearest, (U,) each.

    ``BRIDGE`` and ``NO_BRIDGE`` look up the new vector among the others' old ones, as a consumer
    does that has an index of them. ``NEW`` looks it up among the others' new ones: a consumer that
    reads everybody through the bridge finds those, for no rotation changes who is near whom.
    """
    some = tested.where(np.arange(min(len(tested.ids), NEIGHBOURHOODS)))
    if len(some.ids) <= NEIGHBOURS:
        return {}
    seen = some.readers(rotation)
    wanted = nearest(some.old, NEIGHBOURS)
    found = {
        BRIDGE: nearest_among(seen[BRIDGE], some.old, NEIGHBOURS),
        NO_BRIDGE: nearest_among(seen[NO_BRIDGE], some.old, NEIGHBOURS),
        NEW: nearest(some.new, NEIGHBOURS),
    }
    return {name: overlap(rows, wanted) for name, rows in found.items()}


def nearest_among(users: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """Rows of an index nearest to each user, (N, count), the user's own row left out.

    Args:
        users: (N, d) what is looked up.
        index: (N, d) unit rows, of the same users.
        count: fewer than N.
    """
    scores = users @ index.T  # (N, N)
    np.fill_diagonal(scores, -np.inf)
    return np.argpartition(-scores, count, axis=1)[:, :count]


def overlap(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Share of each row's wanted numbers that were found, (N,)."""
    kept = [len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True)]
    return np.array(kept) / wanted.shape[1]


def future_aucs(
    lake: Lakehouse, trial: Trial, horizon_days: float, seed: int
) -> dict[str, np.ndarray]:
    """The future-listening test for a consumer that multiplies users with the old tracks.

    Plays count from the later of the two moments on, which neither batch has seen, and only tracks
    that both know. ``NEW`` has the new batch's tracks, too.
    """
    both, new_items, old_items = _items_of_both(lake, trial)
    later = max(trial.new, trial.old, key=lambda batch: batch.as_of)
    plays = read_plays(lake, later, horizon_days, both, seed, among=trial.tested.ids)
    if plays is None:
        return {}
    task, names = task_of(plays, np.zeros(len(both)), "after")
    users = trial.tested.where(pd.Index(trial.tested.ids).get_indexer(names))
    seen = users.readers(trial.rotation)
    scores = Scores(
        users={**seen, NEW: users.new}, items={**dict.fromkeys(seen, old_items), NEW: new_items}
    )
    return per_user_auc(task, scores, seed)


def _items_of_both(lake: Lakehouse, trial: Trial) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """Ids of the tracks that both batches know, and where each batch places them."""
    batches = (trial.new, trial.old)
    tables = [lake.read("track_vectors", batch, ["item_id"]) for batch in batches]
    ids = [pd.Index(table["item_id"].to_numpy(zero_copy_only=False)) for table in tables]
    both = ids[0].intersection(ids[1])
    new, old = (item_places(lake, batch, both.to_numpy()) for batch in batches)
    return both, new, old


def genre_aucs(lake: Lakehouse, trial: Trial) -> dict[str, np.ndarray]:
    """A small downstream model: a ridge regression from old vectors on the genres a user plays.

    It is trained on the old vectors of the users that the bridge was fitted on, and asked about
    the others: how far their own genres come above the rest (AUC per user).
    """
    ids = np.concatenate([trial.fitted.ids, trial.tested.ids])
    played = genres_played(lake, trial.old, ids)  # (fitted + tested, genres)
    taught, asked = np.split(played, [len(trial.fitted.ids)])
    common = taught.mean(axis=0)  # (genres,)
    head = ridge(trial.fitted.old, taught - common)  # (d, genres)
    tellable = np.flatnonzero(asked.any(axis=1) & ~asked.all(axis=1))
    found = {}
    for name, vectors in trial.tested.readers(trial.rotation).items():
        scores = vectors @ head + common  # (tested, genres)
        found[name] = np.array(
            [auc(scores[row, asked[row]], scores[row, ~asked[row]]) for row in tellable]
        )
    return found


def genres_played(lake: Lakehouse, batch: Batch, users: np.ndarray) -> np.ndarray:
    """Whether each user has played each of the commonest genres, (U, G) bool."""
    listens = lake.dataset("listens", batch).to_table(
        columns=["user_id", "item_id"],
        filter=pc.field("user_id").isin(list(users)) & (pc.field("played_at") < batch.as_of),
    )
    items = lake.read("items", batch, ["item_id", "genres"]).to_pandas()
    heard = listens.to_pandas().drop_duplicates().merge(items, on="item_id")
    heard = heard.explode("genres").dropna()[["user_id", "genres"]].drop_duplicates()
    common = heard["genres"].value_counts().index[:GENRES]
    row, column = pd.Index(users).get_indexer(heard["user_id"]), common.get_indexer(heard["genres"])
    found = np.zeros((len(users), len(common)), bool)
    found[row[column >= 0], column[column >= 0]] = True
    return found


def ridge(vectors: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Ridge regression without intercept, (N, d) and (N, G) to (d, G)."""
    penalty = RIDGE * np.eye(vectors.shape[1])
    return np.linalg.solve(vectors.T @ vectors + penalty, vectors.T @ wanted)
