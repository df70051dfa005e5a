"""What a protocol measured, as rows that say how sure one can be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.metrics import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """One figure with its 95 % bootstrap interval over users.

    Attributes:
        protocol: which questions, for example ``future_listening/popularity``.
        representation: whose figure.
        metric: its name; ``… gain`` is the user model's over this representation, as a share.
        value, low, high: the figure and its interval.
    """

    protocol: str
    representation: str
    metric: str
    value: float
    low: float
    high: float


def measured(
    protocol: str, by_user: Mapping[str, Mapping[str, np.ndarray]], ours: str
) -> list[Measured]:
    """Means over users, and for all but ours the gain of ours over them, user by user.

    Args:
        protocol: its name.
        by_user: by representation and metric (U,) float64, NaN for users who were not asked.
        ours: whose gains are told.
    """
    rows = []
    for name, metrics in by_user.items():
        for metric, values in metrics.items():
            asked = ~np.isnan(values)
            low, high = bootstrap_interval(values[asked], 0, RESAMPLES)
            rows.append(Measured(protocol, name, metric, float(values[asked].mean()), low, high))
            if name != ours:
                gain = gained(by_user[ours][metric][asked], values[asked])
                rows.append(Measured(protocol, name, f"{metric} gain", *gain))
    return rows


def gained(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """By what share the mean of ours is above theirs, and the interval of that share.

    Both are (U,), of the same users, who are drawn in pairs.
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(ours), (RESAMPLES, len(ours)))
    base = max(float(theirs.mean()), 1e-12)
    shares = ours[drawn].mean(axis=1) / np.maximum(theirs[drawn].mean(axis=1), 1e-12) - 1
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(ours.mean()) / base - 1, float(low), float(high)


def as_json(rows: Sequence[Measured]) -> str:
    """A list of flat objects, one for each figure."""
    return json.dumps([asdict(row) for row in rows], indent=1)
