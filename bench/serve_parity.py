r"""Every user of a batch, once by the batch job and once by the way of events.

    python bench/serve_parity.py --lakehouse URI [--days 60]

States as of some days before the batch's moment are loaded into an online store; all later plays
come through the log, shuffled, a part of them twice, into two updaters, one of which ends in the
middle and is begun again; half-way another space is loaded beside the first and reads the log from
its beginning, as at a promotion. Then the rows and vectors of both spaces are held against
``user_features`` and ``user_embeddings``. One JSON line.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from lakehouse.event_codec import Event, encode
from lakehouse.folder_log import FolderReader, FolderWriter
from lakehouse.online import OnlineStore, open_store
from lakehouse.storage import Lakehouse
from lakehouse.suppression import erasure_key
from ray_apps.nrt_gate import VectorGate
from ray_apps.nrt_load import SpaceLoader
from ray_apps.nrt_space import NrtSpace, micros
from ray_apps.nrt_updates import Serving, SpaceUpdater
from schemas.arrow import matrix
from schemas.settings import Settings

if TYPE_CHECKING:
    from lakehouse.batch import Batch

TWICE = 0.2  # of the events
AT_ONCE = 5_000  # events appended together


class Parity(Settings):
    """Hold the online way against the batch job, for every user."""

    lakehouse: str
    """Lakehouse with a live batch."""
    days: float = 60.0
    """Before the batch's moment, whose plays come as events."""
    seed: int = 0
    """Of the order."""


def main() -> None:
    """Load, stream, compare."""
    args = Parity.parse()
    lake = Lakehouse(args.lakehouse)
    batch = lake.batches.get("live")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(lake, batch, args, Path(folder))))


def measured(lake: Lakehouse, batch: Batch, args: Parity, folder: Path) -> dict[str, Any]:
    """The largest differences over all users, and how much was streamed."""
    store = open_store(str(folder / "online"))
    key, log = erasure_key(lake), folder / "events"
    early = batch.model_copy(update={"as_of": batch.as_of - timedelta(days=args.days)})
    first, second = (
        NrtSpace(lake, early),
        NrtSpace(lake, early.model_copy(update={"as_of": early.as_of + timedelta(days=1)})),
    )
    SpaceLoader(lake, first, key).load(store)
    events = shuffled(late(lake, early, batch), args.seed)
    half = len(events) // 2
    asyncio.run(append(log, events[:half]))
    serving = Serving(VectorGate(2.0), key)
    stopped = updater(first, store, log, serving, batch)
    stopped.step(1.0, most=half // 3)
    stopped.close()
    drain(updater(first, store, log, serving, batch))
    SpaceLoader(lake, second, key).load(store)
    asyncio.run(append(log, events[half:]))
    for space in (first, second):
        drain(updater(space, store, log, serving, batch))
    found = [differences(lake, batch, space, store) for space in (first, second)]
    store.close()
    return {
        "bench": "serve_parity",
        "users": found[0][0],
        "events": len(events),
        "days": args.days,
        "features": max(one[1] for one in found),
        "vectors": max(one[2] for one in found),
        "presence_differs": sum(one[3] for one in found),
    }


def late(lake: Lakehouse, early: Batch, batch: Batch) -> list[Event]:
    """What the batch knows and was not known some days before."""

    def known(of: Batch) -> pc.Expression:
        return (pc.field("played_at") < of.as_of) & (pc.field("ingested_at") <= of.as_of)

    rows = lake.dataset("listens", batch).to_table(filter=known(batch) & ~known(early))
    found = rows.to_pylist()
    for row in found:
        for name in ("played_at", "ingested_at"):
            row[name] = row[name].isoformat()
    return [Event("listens", row) for row in found]


def shuffled(events: list[Event], seed: int) -> list[Event]:
    """The events in any order, some of them twice."""
    rng = np.random.default_rng(seed)
    again = rng.choice(len(events), round(TWICE * len(events)), replace=False)
    every = np.concatenate([np.arange(len(events)), again])
    return [events[number] for number in rng.permutation(every)]


async def append(log: Path, events: list[Event]) -> None:
    """Put events into the log, in a partition of their own."""
    writer = FolderWriter(log)
    for begin in range(0, len(events), AT_ONCE):
        await writer.append([encode(event) for event in events[begin : begin + AT_ONCE]])
    writer.close()


def updater(
    space: NrtSpace, store: OnlineStore, log: Path, serving: Serving, batch: Batch
) -> SpaceUpdater:
    """What reads the log into a space; its clock stands at the batch's moment."""
    reader = FolderReader(log, space.name, store.position(space.name).get)
    return SpaceUpdater(space, store, reader, serving, clock=lambda: micros(batch.as_of))


def drain(reading: SpaceUpdater) -> None:
    """Read to the end of the log."""
    while reading.step(0.5).events:
        pass
    reading.close()


def differences(
    lake: Lakehouse, batch: Batch, space: NrtSpace, store: OnlineStore
) -> tuple[int, float, float, int]:
    """Users, largest difference of features and of vectors, and presence bits that differ."""
    wanted = lake.read("user_features", batch, ["user_id", "features", "present"])
    vectors = lake.read("user_embeddings", batch, ["user_id", "embedding"])
    users = wanted["user_id"].to_pylist()
    states = [
        space.bytes.decode(state.value) if state else None
        for state in store.states(space.name, users)
    ]
    if None in states:
        raise SystemExit("a user of the batch has no state")
    moments = np.full(len(users), micros(batch.as_of))
    rows = space.states.rows([state for state in states if state], moments)
    embedded = space.predictor.embed(rows.features, rows.present)
    order = pc.index_in(wanted["user_id"], vectors["user_id"].combine_chunks())
    return (
        len(users),
        float(np.abs(rows.features - matrix(wanted["features"])).max()),
        float(np.abs(embedded - matrix(vectors["embedding"].take(order))).max()),
        int((rows.present != matrix(wanted["present"])).sum()),
    )


if __name__ == "__main__":
    main()
