"""A table of a new batch beside the same table of the live one.

The contract names the checks and how far each may go before it warns and before it fails
(``engine: tasteprintLive``); here is how each is measured. Both tables are profiled once, and every
check is a function of the two profiles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse import drift as measure
from lakehouse.checks import Check, bounds_said, level_of
from lakehouse.groups import FEWEST, groups_of, lengths_of, shared_groups
from lakehouse.profile import Profile, key_of, paired, profile, sampled
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow.dataset as ds

    from lakehouse.batch import Batch
    from lakehouse.drift import Drift
    from lakehouse.groups import Group
    from lakehouse.parts import Spread
    from lakehouse.storage import Lakehouse
    from schemas.contract import LiveCheck

NEIGHBOURS = 10
NEIGHBOURHOODS = 2_000  # users among whom nearest neighbours are looked for
WORST = 5
NEED_VECTORS = {"effective_dimension", "collapse", "neighbours", "psi", "ks", "kept"}
ELSEWHERE = {"future_listening", "complete"}  # by the audit of the whole batch, by who embeds


@dataclass(frozen=True)
class Finding:
    """What a check measured: a number that the contract bounds, and what a person should see."""

    measured: float
    observed: str
    worst: list[str]
    plot: dict[str, Any] | None = None


@dataclass(frozen=True)
class Sides:
    """What is compared: the new table and the live one, which may not be there yet."""

    lake: Lakehouse
    table: str
    batch: Batch
    now: Profile
    live: Profile | None
    live_batch: Batch | None

    @cached_property
    def groups(self) -> list[Group]:
        """The feature groups that both sides know."""
        ours, theirs = groups_of(self.batch), groups_of(self.live_batch)
        if self.live is None or not self.now.lengths or self.misfits():
            return []
        return list(shared_groups(self.now, self.live, ours, theirs))

    def misfits(self) -> dict[str, int]:
        """Rows of the sample that are not as long as the layout says, by column."""
        layout = groups_of(self.batch)
        expected = lengths_of(layout) if layout else {}
        return {
            column: count
            for column, length in expected.items()
            if (seen := self.now.lengths.get(column)) and (count := seen.total() - seen[length])
        }


def live_checks(
    lake: Lakehouse, table: str, batch: Batch, staged: ds.Dataset, spread: Spread | None = None
) -> list[Check]:
    """Run every live check of a table's contract.

    Args:
        lake: where the live batch is looked for.
        table: name of the contract.
        batch: the one that is written; a refresh is compared with what it replaces.
        staged: its rows, which no reader sees yet.
        spread: counts parts of both on many hosts.
    """
    wanted = [item for item in contract(table).live_checks if item.check not in ELSEWHERE]
    if not wanted:
        return []
    reference = _reference(lake, table, batch)
    known = lake.dataset(table, reference) if reference else None
    rows = max(staged.count_rows(), known.count_rows() if known else 0)
    vectors = any(item.check in NEED_VECTORS for item in wanted)
    now = profile(staged, table, rows, vectors=vectors, spread=spread)
    live = profile(known, table, rows, vectors=vectors, spread=spread) if known else None
    sides = Sides(lake, table, batch, now, live, reference)
    return [check for item in wanted for check in _run(item, sides)]


def _reference(lake: Lakehouse, table: str, batch: Batch) -> Batch | None:
    """What a table is compared with, if there is anything.

    Of a refresh, the batch as readers have it; of a rebuild, the original; else the live batch.
    """
    known = {one.batch_id: one for one in lake.batches.list() if table in one.tables}
    if batch.refresh is not None:
        return known.get(batch.batch_id)
    if batch.rebuild_of is not None:
        return known.get(batch.rebuild_of)
    return next((one for one in known.values() if one.state == "live"), None)


def _run(item: LiveCheck, sides: Sides) -> Iterator[Check]:
    for name, found in MEASURES[item.check](item, sides):
        below = item.check in FLOORS
        level, success = level_of(found.measured, item.warn, item.fail, below=below)
        yield Check(
            check=f"live.{name}",
            expectation=item.name if name == item.check else f"{item.name}: {name.split('.')[-1]}",
            column=None,
            level=level,
            success=success,
            expected=bounds_said(item.warn, item.fail, below=below),
            observed=found.observed,
            unexpected_count=0,
            examples=[],
            worst=found.worst,
            plot=None if success or found.plot is None else json.dumps(found.plot),
        )


def _rows(item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    """Rows over the live batch's: one check bounds them from below, another from above."""
    if sides.live is not None and sides.live.rows:
        now, live = sides.now.rows, sides.live.rows
        yield item.check, Finding(now / live, f"{now:,} rows, {live:,} in the live batch", [])


def _coverage(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    if sides.live is None or not len(sides.live.keys):
        return
    theirs = sides.live.keys
    gone = theirs.filter(pc.invert(pc.is_in(theirs, sides.now.keys)))
    kept = 1 - len(gone) / len(theirs)
    said = f"{kept:.2%} of the live batch's {key_of(sides.table)}s are here"
    worst = [f"{name} is gone" for name in gone.slice(0, WORST).to_pylist()]
    yield "coverage", Finding(kept, said, worst)


def _null_share(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    if sides.live is None:
        return
    live = sides.live.nulls
    rises = {name: share - live.get(name, 0.0) for name, share in sides.now.nulls.items()}
    name = max(rises, key=lambda column: rises[column])
    said = f"{name}: {sides.now.nulls[name]:.2%} nulls, {live.get(name, 0.0):.2%} in the live batch"
    yield "null_share", Finding(rises[name], said, [])


def _freshness(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    now = sides.now.as_of
    if sides.live is None or sides.live.as_of is None or now is None:
        return
    behind = (sides.live.as_of - now).total_seconds() / 86_400
    said = f"as of {now:%Y-%m-%d %H:%M}, the live batch as of {sides.live.as_of:%Y-%m-%d %H:%M} UTC"
    yield "freshness", Finding(behind, said, [])


def _references(item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    column, other = item.options["column"], item.options["table"]
    ids = sides.now.keys
    if not len(ids):
        return
    named = [
        part[column].filter(sampled(part[column], sides.now.below))
        for part in sides.lake.dataset(other, sides.batch).to_batches(columns=[column])
    ]
    known = pa.chunked_array(named, pa.string())
    unknown = ids.filter(pc.invert(pc.is_in(ids, known)))
    said = f"{len(unknown) / len(ids):.2%} of the {column}s are not in {other}"
    worst = [f"{name} is unknown" for name in unknown.slice(0, WORST).to_pylist()]
    yield "references", Finding(len(unknown) / len(ids), said, worst)


def _lengths(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    """Vectors whose length no contract states, since the batch's layout does."""
    if not sides.now.lengths:
        return
    rows = max(seen.total() for seen in sides.now.lengths.values())
    found = sides.misfits()
    said = ", ".join(f"{column}: {count:,} of {rows:,}" for column, count in found.items())
    share = max(found.values(), default=0) / max(rows, 1)
    yield "lengths", Finding(share, f"{said or 'no'} rows have another length", [])


def _effective_dimension(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    live = sides.live
    if live is None or min(len(sides.now.vectors), len(live.vectors)) < FEWEST:
        return
    now, then = (measure.effective_dimension(side.vectors) for side in (sides.now, live))
    said = f"{now:.1f} effective dimensions, {then:.1f} in the live batch"
    yield "effective_dimension", Finding(now / then, said, [])


def _collapse(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    vectors = sides.now.vectors
    if len(vectors) < FEWEST:
        return
    share = measure.crowd(vectors, NEIGHBOURHOODS)
    yield "collapse", Finding(share, f"{share:.2%} of the rows stand in one place", [])


def _neighbours(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    if sides.live is None:
        return
    a, b = (rows[:NEIGHBOURHOODS] for rows in paired(sides.now.ids, sides.live.ids))
    if len(a) < FEWEST:
        return
    now, live = sides.now.vectors[a], sides.live.vectors[b]
    changed = measure.neighbours_changed(now, live, NEIGHBOURS)
    said = f"{changed:.1%} of the {NEIGHBOURS} nearest among {len(a):,} users are others"
    yield "neighbours", Finding(changed, said, [])


def _presence(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    """Both layouts' groups by name: a group that one of them lacks is present in nobody."""
    if sides.live is None or not min(sides.now.rows, sides.live.rows) or sides.misfits():
        return
    now, live = _shares(sides.now, sides.batch), _shares(sides.live, sides.live_batch)
    smallness = 1 / sides.now.rows + 1 / sides.live.rows
    changes = {
        name: measure.share_change(now.get(name, 0.0), live.get(name, 0.0), smallness)
        for name in {**now, **live}
    }
    if not changes:
        return
    name = max(changes, key=lambda group: changes[group])
    a, b = now.get(name, 0.0), live.get(name, 0.0)
    said = f"{name}: {a:.1%} of users have it, {b:.1%} in the live batch"
    yield "presence", Finding(changes[name], said, [])


def _shares(side: Profile, batch: Batch | None) -> dict[str, float]:
    """Share of users who have each group, by its name."""
    layout, present = groups_of(batch), side.present
    if present is None or len(present) != len(layout):
        return {}
    return dict(zip(layout, present.tolist(), strict=True))


def _drifted(kind: str) -> Callable[[LiveCheck, Sides], Iterator[tuple[str, Finding]]]:
    def run(item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
        for group in sides.groups:
            columns = group.drifts(item.options.get("within", {}))
            name = max(columns, key=lambda column: getattr(columns[column], kind))
            worst = columns[name]
            said = f"{kind.upper()} {getattr(worst, kind):.3f} in {name!r}, beyond chance"
            plot = _plot(f"{group.name}, {name}", worst)
            yield f"{kind}.{group.name}", Finding(getattr(worst, kind), said, [], plot)

    return run


def _kept(_item: LiveCheck, sides: Sides) -> Iterator[tuple[str, Finding]]:
    for group in sides.groups:
        kept = group.kept()
        if kept is not None:
            said = f"{kept:.3f} is how users' likeness correlates with that of the live batch"
            yield f"kept.{group.name}", Finding(kept, said, [])


def _plot(name: str, seen: Drift) -> dict[str, Any]:
    return {
        "name": name,
        "edges": np.round(seen.edges, 4).tolist(),
        "now": np.round(seen.now, 4).tolist(),
        "live": np.round(seen.live, 4).tolist(),
    }


FLOORS = {"row_count", "coverage", "effective_dimension", "kept"}  # these may not be too small
MEASURES: dict[str, Callable[[LiveCheck, Sides], Iterator[tuple[str, Finding]]]] = {
    "row_count": _rows,
    "growth": _rows,
    "coverage": _coverage,
    "null_share": _null_share,
    "freshness": _freshness,
    "references": _references,
    "lengths": _lengths,
    "effective_dimension": _effective_dimension,
    "collapse": _collapse,
    "neighbours": _neighbours,
    "presence": _presence,
    "psi": _drifted("psi"),
    "ks": _drifted("ks"),
    "kept": _kept,
}
