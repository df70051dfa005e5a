"""Fit a bridge from one batch's space into another's, and measure how much it keeps.

::

    python -m evaluation.bridge --lakehouse URI --new ID --old ID

The map is fitted on half of the users that both batches know (an id's hash says which half) and on
tracks that both have placed. On the other half, which fitting has not seen, four readers are
compared: one that has the old vectors, one that reads the new ones through the bridge, one that
reads them as if there were no difference, and one that has moved to the new batch with all it has.
The gate's bounds are in the contract of ``bridges``; a bridge that misses them is kept as refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.bridge_measures import BRIDGE, Pairs, Trial, measures
from evaluation.places import item_places
from lakehouse.bridges import TABLE, Bridge, BridgeRegistry, models_of, rotation_between
from lakehouse.checks import Check, Verdict, bounds_said, level_of
from lakehouse.gate import settled
from lakehouse.profile import hashes, paired, profile
from lakehouse.report import write_report
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from schemas.contract import contract
from schemas.errors import BatchError, entry_point
from schemas.settings import Settings
from schemas.version import code_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakehouse.batch import Batch
    from schemas.contract import LiveCheck

TRACKS_SHARE = 0.5  # of the fit's weight; the rest is the users'
FLOORS = {"bridge_users", "bridge_neighbours"}  # these may not be too small


class BuildBridge(Settings):
    """Fit and measure a bridge, so that consumers of one batch can read another."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    new: str
    """The batch that is read: an id, or live, or legacy."""
    old: str
    """The batch that consumers are trained on: an id, or live, or legacy."""
    horizon_days: float = 7.0
    """Days after both batches' as_of in which plays are foretold."""
    seed: int = 0
    """Seed of the negatives and of the bootstrap."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Build; GateError if the bridge keeps too little."""
    args = BuildBridge.parse(argv)
    lake = Lakehouse(args.lakehouse)
    bridge, verdict = build(lake, args.new, args.old, args.horizon_days, args.seed)
    verdict.require(lake.report_uri(run_name(bridge.from_batch, bridge.to_batch)))


def run_name(new: str, old: str) -> str:
    """How the gate's verdicts and the report call a bridge."""
    return f"{new}-into-{old}"


def build(
    lake: Lakehouse, new: str, old: str, horizon_days: float, seed: int
) -> tuple[Bridge, Verdict]:
    """Fit, measure, judge and write down a bridge, ready or refused.

    Raises:
        BatchError: a batch is not there or has no vectors, or both are the same.
    """
    clock = StepClock(lake, "bridge")
    trial = fitted_trial(lake, lake.batch(new), lake.batch(old))
    found = measures(lake, trial, horizon_days, seed)
    verdict = settled(lake, judged(trial, found))
    bridge = Bridge(
        from_batch=trial.new.batch_id,
        to_batch=trial.old.batch_id,
        made_at=datetime.now(UTC),
        rotation=trial.rotation,
        metrics={
            "models": models_of(trial.new, trial.old),
            "held_out": len(trial.tested.ids),
            "tracks": len(trial.tracks.ids),
            "measures": found,
        },
        state="refused" if verdict.outcome == "failed" else "ready",
        users=len(trial.fitted.ids),
        code_version=code_version(),
    )
    BridgeRegistry(lake).add(bridge)
    clock.finish(verdict.run_id, rows_in=bridge.users, rows_out=int(bridge.state == "ready"))
    write_report(lake, verdict.run_id)
    return bridge, verdict


def fitted_trial(lake: Lakehouse, new: Batch, old: Batch) -> Trial:
    """Fit the map on the users that are not held out, and on tracks.

    Raises:
        BatchError: both are one batch, or have no user or no track in common.
    """
    if new.batch_id == old.batch_id:
        raise BatchError(f"there is nothing to bridge: both ends are batch {new.batch_id}")
    users, tracks = user_pairs(lake, new, old), track_pairs(lake, new, old)
    unseen = held_out(users.ids)
    fitted, tested = users.where(~unseen), users.where(unseen)
    return Trial(new, old, fitted, tested, tracks, fit(fitted, tracks))


def user_pairs(lake: Lakehouse, new: Batch, old: Batch) -> Pairs:
    """Users with a history whom both batches have embedded: all, or a sample of many."""
    return _pairs(lake, "user_embeddings", new, old)


def track_pairs(lake: Lakehouse, new: Batch, old: Batch) -> Pairs:
    """Tracks that both batches' models place among their users: all, or a sample of many."""
    pairs = _pairs(lake, "track_vectors", new, old)
    return Pairs(pairs.ids, *(item_places(lake, batch, pairs.ids) for batch in (new, old)))


def held_out(ids: np.ndarray) -> np.ndarray:
    """Which users no bridge is ever fitted on, (N,) bool: half of them, by their ids alone."""
    return hashes(ids) % np.uint64(2) == 1


def fit(users: Pairs, tracks: Pairs, tracks_share: float = TRACKS_SHARE) -> np.ndarray:
    """The map from the new space into the old, (d, d) float32.

    A consumer multiplies users with tracks, so both have to arrive; each side weighs the same
    however many there are of it.
    """
    sides = ((users, 1 - tracks_share), (tracks, tracks_share))
    weight = np.concatenate(
        [np.full(len(side.ids), share / max(len(side.ids), 1)) for side, share in sides]
    )
    return rotation_between(
        np.concatenate([users.new, tracks.new]), np.concatenate([users.old, tracks.old]), weight
    )


def judged(trial: Trial, found: Mapping[str, Any]) -> Verdict:
    """What the contract's bounds say of what was measured."""
    checks = [
        _check(item, _measured(item, found, len(trial.tested.ids)))
        for item in contract(TABLE).live_checks
    ]
    run_id = run_name(trial.new.batch_id, trial.old.batch_id)
    return Verdict(run_id=run_id, table=TABLE, rows=1, checks=checks)


def _pairs(lake: Lakehouse, table: str, new: Batch, old: Batch) -> Pairs:
    """Vectors of the ids that both batches have; of many the same sample on both sides."""
    sides = [lake.dataset(table, batch) for batch in (new, old)]
    rows = max(side.count_rows() for side in sides)
    here, there = (profile(side, table, rows, vectors=True) for side in sides)
    ours, theirs = paired(here.ids, there.ids)
    if not len(ours):
        raise BatchError(
            f"batches {new.batch_id} and {old.batch_id} have nothing in common in {table}: a "
            "bridge is fitted on what both know"
        )
    return Pairs(here.ids[ours], here.vectors[ours], there.vectors[theirs])


def _measured(item: LiveCheck, found: Mapping[str, Any], users: int) -> float | None:
    """The number that a check bounds; None where it could not be measured."""
    if item.check == "bridge_users":
        return users
    measure = found.get(item.options["measure"])
    if measure is None:
        return None
    return next(row[item.options["of"]] for row in measure["rows"] if row["name"] == BRIDGE)


def _check(item: LiveCheck, measured: float | None) -> Check:
    """A bound and what it was held against; what could not be measured is a warning."""
    below = item.check in FLOORS
    level, success = (
        ("warn", False)
        if measured is None
        else level_of(measured, item.warn, item.fail, below=below)
    )
    return Check(
        check=item.check,
        expectation=item.name,
        column=None,
        level=level,
        success=success,
        expected=bounds_said(item.warn, item.fail, below=below),
        observed="nobody to measure it on" if measured is None else f"{measured:.4g}",
        unexpected_count=0,
        examples=[],
    )


if __name__ == "__main__":
    main()
