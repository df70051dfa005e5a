"""Newcomers through the API: Table 2's question and the curve by plays, asked of a service.

::

    python bench/serve_cold_start.py --lakehouse URI

As ``tasteprint evaluate first-hours`` has it, with a service in the place of the batch's own code:
the picks of everybody whom the live batch has never seen are posted to ``/v1/events``, then their
plays in order, and at each point of the curve their vectors are read by ``embeddings:batchGet``.
Questions, heads and the other representations are those of that command. Each vector is also held
against the one which it computes, and against the one before.

Needs a lakehouse whose batch leaves newcomers out (``tasteprint run --holdout-days``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from serve_process import asked, serving
from session import said

from evaluation.catalogue import plays_by_country, read_catalogue
from evaluation.contenders import MODEL
from evaluation.newcomer_vectors import NewcomerVectors
from evaluation.newcomers import read_newcomers
from evaluation.protocols.first_hours import first_hours, planned
from lakehouse.storage import Lakehouse
from models.baselines import Representation
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_process import Service

    from evaluation.catalogue import Catalogue
    from evaluation.newcomers import Newcomers
    from models.cuts import Cuts

AT_ONCE = 1_000  # rows or ids of a request
EACH = 10  # plays that are sent one by one
SECOND = 10**6  # microseconds


class ColdStart(Settings):
    """Ask a running service about newcomers."""

    lakehouse: str
    """Lakehouse with a live batch, and newcomers after it."""
    users: int = 20_000
    """Newcomers at most, drawn at random."""
    hours: float = 4.0
    """Hours from the first play on that are asked about."""
    first: int = 20
    """Plays that are asked about where those hours hold fewer."""
    seeds: int = 5
    """Times that everybody is asked."""


def main(argv: Sequence[str] | None = None) -> None:
    """Start the service, send the newcomers, ask."""
    args = ColdStart.parse(argv)
    lake = Lakehouse(args.lakehouse)
    batch = lake.batches.get("live")
    catalogue = read_catalogue(lake, batch)
    people = read_newcomers(lake, batch, catalogue, args.users, 0)
    told = people.profiles["country"].to_numpy(zero_copy_only=False)
    countries = plays_by_country(lake, batch, catalogue, told)
    plan = planned(people, catalogue, args.hours, args.first)
    points = {int(cuts.at[0] - cuts.start[0]) for cuts in plan.measured.values()}
    with (
        tempfile.TemporaryDirectory() as name,
        serving(lake, Path(name), 1, "--moment", "events") as service,
    ):
        after = dict(vectors_after(service, plan.people, catalogue, points))
    computed = NewcomerVectors.of(lake, batch, plan.people, catalogue, countries)
    through = ThroughTheApi(**vars(computed), after=after)
    for name, cuts in plan.measured.items():
        said(asked=name, **differences(computed, through, cuts))
    for row in first_hours(plan, through, args.seeds, lambda name: print(name, file=sys.stderr)):
        if row.metric in {"auc", "auc gain"}:
            said(**{name: _rounded(value) for name, value in vars(row).items()})


@dataclass(frozen=True)
class ThroughTheApi(NewcomerVectors):
    """As the protocol sees newcomers, with the vectors that a service gave.

    Attributes:
        after: by number of plays, (U, size) float32; NaN for who has played less.
    """

    after: Mapping[int, np.ndarray]

    def at(self, cuts: Cuts) -> Iterator[tuple[str, Representation]]:
        """See ``NewcomerVectors``."""
        for name, known in super().at(cuts):
            if name == MODEL:
                yield name, Representation(self.of(cuts), known.items)
            else:
                yield name, known

    def of(self, cuts: Cuts) -> np.ndarray:
        """Vectors of the users at their cuts, which are all after as many plays."""
        (seen,) = np.unique(cuts.at - cuts.start)
        found: np.ndarray = self.after[int(seen)][cuts.user]
        return found


def vectors_after(
    service: Service, people: Newcomers, catalogue: Catalogue, points: set[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Send what everybody picked, and then play after play; read vectors at each point.

    Plays go in order of their number: everybody's first, everybody's second.
    """
    post(service, "onboarding", picks_of(people, catalogue))
    rows = plays_of(service, people)
    place = np.arange(len(people.user)) - people.bounds[people.user]
    length = np.diff(people.bounds)
    last = max(points)
    stops = sorted(points | set(range(min(EACH, last) + 1)) | {last})
    before: np.ndarray | None = None
    for begin, end in pairwise([0, *stops]):
        chosen = np.flatnonzero((place >= begin) & (place < end))
        chosen = chosen[np.argsort(place[chosen], kind="stable")]
        post(service, "listens", [rows[number] for number in chosen])
        service.wait_until_done()
        now = read(service, people)
        enough = length >= end
        if before is not None and end > begin:
            cosine = (before[enough] * now[enough]).sum(axis=1)
            still = float((np.abs(before[enough] - now[enough]).max(axis=1) == 0).mean())
            said(
                plays=end,
                users=int(enough.sum()),
                unmoved=round(still, 4),
                cosine_with_before=round(float(np.nanmedian(cosine)), 4),
            )
        before = now
        if end in points:
            now[~enough] = np.nan
            yield end, now


def picks_of(people: Newcomers, catalogue: Catalogue) -> list[dict[str, Any]]:
    """What everybody picked, as rows of ``onboarding``."""
    picks = people.picks
    return [
        {
            "user_id": people.user_ids[user],
            "picked_id": catalogue.items[item] if item >= 0 else catalogue.creators[creator],
            "picked_kind": "item" if item >= 0 else "creator",
            "picked_at": _text(at),
            "completed": True,
        }
        for user, at, item, creator in zip(
            picks.user, picks.at, picks.item, picks.creator, strict=True
        )
    ]


def plays_of(service: Service, people: Newcomers) -> list[dict[str, Any]]:
    """Everybody's plays as rows of ``listens``, in the order of ``people``."""
    columns = ["event_id", "user_id", "item_id", "item_kind", "played_at", "ms_played"]
    columns += ["surface", "device"]
    batch = service.lake.batches.get("live")
    rows = service.lake.read("listens", batch, columns)
    rows = rows.filter(pc.is_in(rows["user_id"], pa.array(people.user_ids.tolist())))
    order = [(name, "ascending") for name in ("user_id", "played_at", "event_id")]
    found = rows.sort_by(order).to_pylist()
    for row in found:
        row["played_at"] = row["played_at"].isoformat()
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def post(service: Service, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Send rows; every one of them has to be taken."""
    for begin in range(0, len(rows), AT_ONCE):
        body = json.dumps({table: rows[begin : begin + AT_ONCE]})
        asked(f"{service.front}/v1/events", service.token, body=body)


def read(service: Service, people: Newcomers) -> np.ndarray:
    """Everybody's vectors now, (U, size) float32; who is not known has that of a stranger."""
    found: list[list[float] | None] = []
    ids = people.user_ids.tolist()
    for begin in range(0, len(ids), AT_ONCE):
        body = json.dumps({"user_ids": ids[begin : begin + AT_ONCE]})
        answer = json.loads(
            asked(f"{service.front}/v1/embeddings:batchGet", service.token, body=body)
        )
        found += [one.get("embedding") for one in answer["embeddings"]]
    stranger = json.loads(asked(f"{service.front}/v1/embed", service.token, body="{}"))
    return np.array([one or stranger["embedding"] for one in found], np.float32)


def differences(computed: NewcomerVectors, through: ThroughTheApi, cuts: Cuts) -> dict[str, Any]:
    """How far the service's vectors lie from those that the protocol computes."""
    ours = dict(computed.at(cuts))[MODEL].users
    cosine = (ours * through.of(cuts)).sum(axis=1)
    return {
        "plays": int(cuts.at[0] - cuts.start[0]),
        "users": len(cuts.user),
        "cosine_with_computed": {
            "least": round(float(cosine.min()), 4),
            "median": round(float(np.median(cosine)), 4),
        },
    }


def _text(at: int) -> str:
    return datetime.fromtimestamp(int(at) / SECOND, UTC).isoformat()


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
