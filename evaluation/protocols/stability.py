"""How far do users and items move from one batch to another, and how much of it does a bridge undo?

The map between the spaces is fitted as a bridge is (``evaluation.bridge``), but on half of the
items, too: users and items of the other halves are measured, and nothing that is measured was
fitted. Each is looked at in three ways:

* ``as it is``: the new vector beside the old one, as if there were no difference of spaces.
* ``through the bridge``: the new vector after the map, beside the old one.
* ``each in its own space``: who is near whom among the new vectors, and who was among the old ones;
  no turn of the space changes that, so it is what the batches themselves have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.bridge import fit, fitted_trial, held_out
from evaluation.bridge_measures import BRIDGE, NEIGHBOURS, NEW, NO_BRIDGE, cosines, neighbours_kept
from evaluation.measured import RESAMPLES, Measured, measured
from evaluation.metrics import bootstrap_interval
from evaluation.report import Table, interval
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

NAME = "stability"
COSINE, KEPT = "cosine", "neighbours kept"
USERS, ITEMS = "users", "items"
WAYS = {NO_BRIDGE: "as it is", BRIDGE: "through the bridge", NEW: "each in its own space"}


def _lowest_tenth(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.1))


FIGURES: Mapping[str, Callable[[np.ndarray], float]] = {
    f"{COSINE}, median": np.median,
    f"{COSINE}, 10th percentile": _lowest_tenth,
}


@dataclass(frozen=True)
class Moved:
    """What became of the users, or of the items, that both batches know and no map was fitted on.

    Attributes:
        side: ``users`` or ``items``.
        cosines: of new with old vectors, (N,) float64 by way; none in its own space.
        kept: share of the nearest that are still the nearest, (M,) by way, of at most so many as
            ``neighbours_kept`` looks at; empty where there are too few.
    """

    side: str
    cosines: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.cosines[WAYS[BRIDGE]])


def stability(lake: Lakehouse, new: Batch, old: Batch) -> list[Moved]:
    """Fit a map on one half of users and items, and measure the other.

    Raises:
        BatchError: both are one batch, or have no user or no item in common.
        InputError: they have so few in common that nobody is left to be measured.
    """
    trial = fitted_trial(lake, new, old)
    unseen = held_out(trial.tracks.ids)
    rotation = fit(trial.fitted, trial.tracks.where(~unseen))
    sides = {USERS: trial.tested, ITEMS: trial.tracks.where(unseen)}
    for side, pairs in sides.items():
        if not len(pairs.ids):
            raise InputError(
                f"batches {new.batch_id} and {old.batch_id} have too few {side} in common: one "
                "half fits the bridge, and the other is empty"
            )
    return [
        Moved(side, _by_way(cosines(pairs, rotation)), _by_way(neighbours_kept(pairs, rotation)))
        for side, pairs in sides.items()
    ]


def figures(moved: Iterable[Moved]) -> list[Measured]:
    """All figures with their intervals, over users and over items."""
    return [row for one in moved for way in WAYS.values() for row in _figures(one, way)]


def table(moved: Sequence[Moved], rows: Sequence[Measured]) -> Table:
    """A row for users and for items in each way."""
    of = {(row.representation, row.protocol, row.metric): interval(row) for row in rows}
    metrics = (COSINE, *FIGURES, KEPT)
    return Table(
        title="How far they move",
        about="Cosines of new vectors with old ones, and which of the "
        f"{NEIGHBOURS} nearest in the old space are still the nearest; nothing that is measured "
        "was fitted. In its own space each new vector is beside other new ones, so that only who "
        "is near whom can be compared.",
        header=["", *metrics],
        rows=[
            [f"{one.side}, {way}", *(of.get((one.side, protocol, name), "") for name in metrics)]
            for one in moved
            for way in WAYS.values()
            for protocol in [f"{NAME}/{way}"]
        ],
    )


def _by_way(by_reader: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {WAYS[reader]: values for reader, values in by_reader.items()}


def _figures(moved: Moved, way: str) -> list[Measured]:
    """Means of everything, and of cosines how they are spread."""
    protocol, side = f"{NAME}/{way}", moved.side
    told = {COSINE: moved.cosines.get(way), KEPT: moved.kept.get(way)}
    known = {metric: values for metric, values in told.items() if values is not None}
    rows = measured(protocol, {side: known}, side)
    for metric, of in FIGURES.items() if COSINE in known else ():
        low, high = bootstrap_interval(known[COSINE], 0, RESAMPLES, of=of)
        rows.append(Measured(protocol, side, metric, float(of(known[COSINE])), low, high))
    return rows
