"""The feature groups of two batches side by side, matched by name: their layouts may differ.

A group that only one of the two knows has nothing to lie beside, and shows in its presence alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lakehouse.drift import alikeness_kept, drift, mix_drift, pair_cosines
from lakehouse.profile import paired

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakehouse.batch import Batch
    from lakehouse.drift import Drift
    from lakehouse.profile import Profile

FEWEST = 50  # rows below which a comparison of samples says nothing
PAIRED = 1_000  # users who are compared with one another
MIX = "the mix of all users"
OTHER = "other"  # the column of all values without one of their own, as in models.layout


@dataclass(frozen=True)
class Group:
    """One group of both batches, among the users of each sample who have it.

    Attributes:
        name: of the group.
        kind: of the group, see models.layout.
        columns: (C,) names of what both know; empty for a vector, whose coordinates mean nothing.
        now, live: (N, w) and (M, w) values.
        now_ids, live_ids: (N,) and (M,) whose they are.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    now: np.ndarray
    live: np.ndarray
    now_ids: np.ndarray
    live_ids: np.ndarray

    def drifts(self, within: Mapping[str, float]) -> dict[str, Drift]:
        """How far each column has moved, and the mix of shares; of a vector, cosines of pairs.

        Args:
            within: for each kind of group how far is not far.
        """
        near = within.get(self.kind, 0.0)
        if not self.columns:
            pairs = pair_cosines(self.now), pair_cosines(self.live)
            return {"cosine of two users": drift(*pairs, near)}
        found = {
            name: drift(self.now[:, place], self.live[:, place], near)
            for place, name in enumerate(self.columns)
        }
        if self.kind == "distribution":
            found[MIX] = mix_drift(self.now, self.live)
        return found

    def kept(self) -> float | None:
        """``alikeness_kept`` among users who have the group twice; None where too few differ."""
        a, b = (rows[:PAIRED] for rows in paired(self.now_ids, self.live_ids))
        sides = self.now[a], self.live[b]
        if min(_differing(side) for side in sides) < FEWEST:
            return None
        return alikeness_kept(*sides)


def _differing(values: np.ndarray) -> int:
    """Rows that are not the commonest one."""
    if not len(values):
        return 0
    return len(values) - int(np.unique(values, axis=0, return_counts=True)[1].max())


def groups_of(batch: Batch | None) -> dict[str, dict[str, Any]]:
    """The groups of a batch's feature layout by name, in order."""
    layout = json.loads(batch.layout) if batch and batch.layout else {"groups": []}
    return {group["name"]: group for group in layout["groups"]}


def lengths_of(layout: Mapping[str, Any]) -> dict[str, int]:
    """How long the vectors of a feature row are, by column, as its layout says."""
    return {
        "features": sum(len(group["columns"]) for group in layout.values()),
        "present": len(layout),
    }


def shared_groups(
    now: Profile, live: Profile, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Iterator[Group]:
    """The groups of both layouts that enough users of both samples have."""
    for name, group in ours.items():
        if name not in theirs:
            continue
        a, b = _owners(now, ours, name), _owners(live, theirs, name)
        if min(len(a), len(b)) < FEWEST:
            continue
        columns, sides = _aligned((now.vectors[a], group), (live.vectors[b], theirs[name]))
        yield Group(name, group["kind"], columns, sides[0], sides[1], now.ids[a], live.ids[b])


def _owners(side: Profile, layout: Mapping[str, Any], name: str) -> np.ndarray:
    """Rows of the sample who have the group."""
    if side.groups is None:
        return np.empty(0, np.int64)
    return np.flatnonzero(side.groups[:, list(layout).index(name)] > 0)


def _aligned(
    *sides: tuple[np.ndarray, Mapping[str, Any]],
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The group's values with the same columns on both sides.

    A value that has a column of its own on one side alone counts as other on both.
    """
    named = [group["columns"] for _, group in sides]
    cut = [
        rows[:, group["start"] : group["start"] + len(group["columns"])] for rows, group in sides
    ]
    if sides[0][1]["kind"] == "vector":
        return (), cut
    shared = tuple(name for name in named[0] if name in named[1])
    found = []
    for values, columns in zip(cut, named, strict=True):
        same = values[:, [columns.index(name) for name in shared]]
        if OTHER in shared:
            rest = [place for place, name in enumerate(columns) if name not in shared]
            same[:, shared.index(OTHER)] += values[:, rest].sum(axis=1)
        found.append(same)
    return shared, found
