"""Hand-over: the spaces of the store follow the batches of the registry.

A batch that becomes live, or whose rows were refreshed, is loaded beside what is served. Then the
log is read into it from before its moment on, and only when it has seen everything that was in the
log do readers turn to it, in one write. What was live stays for a while, so that a rollback is
the same write backwards; a legacy batch stays while a consumer is trained on it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ray_apps.nrt_directory import Directory, change_directory, read_directory
from ray_apps.nrt_load import SpaceLoader
from ray_apps.nrt_space import NrtSpace, space_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakehouse.batch import Batch
    from lakehouse.online import Dtype, OnlineStore
    from lakehouse.storage import Lakehouse

GRACE = 600.0  # seconds for which a space stays that nobody wants any more


@dataclass(frozen=True)
class Wanted:
    """The batches that are to be served.

    Attributes:
        live: None before anything was promoted.
        legacy: the last one that was live before, if a consumer needs it.
        all: both, and every other legacy batch that a consumer needs; by space.
    """

    live: str | None
    legacy: str | None
    all: Mapping[str, Batch]


class Keeper:
    """Loads, turns and drops spaces.

    Args:
        lake: the lakehouse with the registry.
        store: the online store.
        ends: by partition of the log, where it ends now.
        key: of the hashes by which erased people are known.
        dtype: of vectors in the store.
        grace: seconds for which a space stays that nobody wants any more.
        say: is told what is done.
    """

    def __init__(
        self,
        lake: Lakehouse,
        store: OnlineStore,
        ends: Callable[[], Mapping[str, int]],
        *,
        key: bytes,
        dtype: Dtype = "float32",
        grace: float = GRACE,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._lake, self._store, self._ends = lake, store, ends
        self._key, self._dtype, self._grace, self._say = key, dtype, grace, say
        self._goals: dict[str, Mapping[str, int]] = {}

    def step(self) -> Directory:
        """Do what is to be done now; may be repeated, by several at once, after any crash."""
        wanted = wanted_batches(self._lake)
        for space, batch in wanted.all.items():
            self._bring(space, batch)
        found = change_directory(self._store, lambda now: _turned(now, wanted, time.time()))
        self._drop(found)
        return found

    def _bring(self, space: str, batch: Batch) -> None:
        """Take a space one stage further, if it can go there."""
        match read_directory(self._store).stages.get(space):
            case None | "loading":
                self._set_stage(space, "loading")
                loader = SpaceLoader(
                    self._lake, NrtSpace(self._lake, batch), self._key, self._dtype
                )
                loader.load(self._store, self._say)
                self._set_stage(space, "following")
            case "following":
                # Where the log ended when it was first followed; later events come within moments.
                goal = self._goals.setdefault(space, self._ends())
                seen = self._store.position(space)
                if all(seen.get(partition, 0) >= end for partition, end in goal.items()):
                    self._set_stage(space, "serving")
                    self._say(f"{space} has seen the whole log")

    def _set_stage(self, space: str, stage: str) -> None:
        change_directory(
            self._store,
            lambda now: Directory.model_validate(
                {**now.model_dump(), "stages": {**now.stages, space: stage}}
            ),
        )

    def _drop(self, found: Directory) -> None:
        for space, since in found.left.items():
            if time.time() - since < self._grace:
                continue
            change_directory(self._store, partial(_without, space))
            self._store.drop(space)
            self._say(f"{space} is no longer served")


def wanted_batches(lake: Lakehouse) -> Wanted:
    """What the registry says is to be served now."""
    batches, now = lake.batches.list(), datetime.now(UTC)
    live = next((batch for batch in batches if batch.state == "live"), None)
    needed = [
        batch
        for batch in batches
        if batch.state == "legacy"
        and (batch.consumers or (batch.legacy_until is not None and batch.legacy_until > now))
    ]
    before = next(
        (batch for batch in needed if live is not None and batch.batch_id == live.previous),
        needed[-1] if needed else None,
    )
    served = ([live] if live else []) + needed
    return Wanted(
        live=space_name(live) if live else None,
        legacy=space_name(before) if before else None,
        all={space_name(batch): batch for batch in served},
    )


def _turned(now: Directory, wanted: Wanted, at: float) -> Directory:
    """The directory with readers turned to what is wanted, as far as it can answer."""

    def ready(space: str | None) -> bool:
        return space is not None and now.stages.get(space) == "serving"

    live = wanted.live if ready(wanted.live) else now.live
    legacy = now.legacy if wanted.legacy else None
    legacy = wanted.legacy if ready(wanted.legacy) else legacy
    needed = {*wanted.all, live, legacy}
    left = {space: now.left.get(space, at) for space in now.stages if space not in needed}
    return now.model_copy(update={"live": live, "legacy": legacy, "left": left})


def _without(space: str, now: Directory) -> Directory:
    return now.model_copy(
        update={
            "stages": {name: stage for name, stage in now.stages.items() if name != space},
            "left": {name: since for name, since in now.left.items() if name != space},
        }
    )
