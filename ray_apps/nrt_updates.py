"""Events from the log into states and vectors of one space: read, add, embed, check, write.

A state is written only if it still is the one that was read, so any number of processes may update
one user at once: who comes second does it again. The log's position is written with the states, in
the same transaction, so after a crash no event is missed; what is read again is known by its id.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from lakehouse.event_codec import LISTENS, ONBOARDING, decode
from lakehouse.online import Update, Vector, pack_vector, unpack_vector
from lakehouse.suppression import subject
from models.user_state import UserState
from ray_apps.nrt_events import as_tables
from ray_apps.nrt_gate import Made

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from lakehouse.event_log import LogReader, Record
    from lakehouse.online import Dtype, OnlineStore, Source, Status
    from ray_apps.nrt_gate import VectorGate
    from ray_apps.nrt_space import NrtSpace

log = logging.getLogger(__name__)

MOST = 512  # events taken together: more gain little, and each waits for all others
SECOND = 1_000_000  # microseconds
ATTEMPTS = 1_000  # to write a user whom others write at the same moment


@dataclass
class Fresh:
    """What is new of one user; arrays as ``models.user_state`` has them, None for nothing."""

    plays: np.ndarray | None = None
    picks: np.ndarray | None = None


@dataclass
class Done:
    """What one step has done, for the counters.

    Attributes:
        events: taken from the log.
        published: vectors.
        held: vectors that the gate held back, by reason.
        repeated: users that were done again, for somebody else had written them meanwhile.
        oldest: microseconds, when the log took the oldest of the events; 0 without any.
    """

    events: int = 0
    published: int = 0
    held: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    oldest: int = 0


@dataclass(frozen=True)
class Serving:
    """How vectors are made and kept.

    Attributes:
        gate: that a vector has to pass.
        dtype: of vectors in the store, ``float32`` or ``float16``.
        keep_days: for which a vector is served without another event; 0 for ever.
        by_events: whether the moment of a row is the user's last event and not the clock's, for
            events of long ago that are played again.
        key: of the hashes by which erased people are known.
    """

    gate: VectorGate
    key: bytes
    dtype: Dtype = "float32"
    keep_days: float = 0.0
    by_events: bool = False


class SpaceUpdater:
    """Brings one space of the online store up to date with the log.

    Args:
        space: whose states and vectors.
        store: where they are.
        reader: of the log, with what the space has not seen yet.
        serving: how vectors are made.
        clock: microseconds since 1970.
    """

    def __init__(
        self,
        space: NrtSpace,
        store: OnlineStore,
        reader: LogReader,
        serving: Serving,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._space, self._store, self._reader = space, store, reader
        self._serving, self._clock = serving, clock
        self._position: dict[str, int] = {}
        self._taken: list[Record] = []  # from the log, and not in the store yet

    @property
    def by_events(self) -> bool:
        """Whether vectors are as of the user's last event and not of now."""
        return self._serving.by_events

    def step(self, wait: float = 0.0, most: int = MOST) -> Done:
        """Take what is next in the log, at most so many events, into states and vectors.

        May be repeated after a crash or an error at any point.

        Args:
            wait: seconds to wait for a first event.
            most: events taken together.

        Raises:
            StoreError: the store does not take them; the next step takes the same ones.
        """
        records = self._taken = self._taken or self._reader.poll(most, wait)
        done, position = Done(events=len(records)), self._reader.position()
        if records:
            done.oldest = min(record.at for record in records)
        if position != self._position:
            self._apply(fresh_by_user(self._space, records), position, done)
            self._reader.commit()
            self._position = position
        self._taken = []
        return done

    def backlog(self) -> int:
        """How much of the log is not read yet, in the unit of its reader."""
        return self._reader.backlog()

    def close(self) -> None:
        """Let other processes read on."""
        self._reader.close()

    def _apply(self, fresh: Mapping[str, Fresh], position: Mapping[str, int], done: Done) -> None:
        left = dict(fresh)
        for _ in range(ATTEMPTS):
            updates = self._updates(left, done)
            written = self._store.update(self._space.name, updates, position)
            left = {
                update.user_id: left[update.user_id]
                for update, there in zip(updates, written, strict=True)
                if not there
            }
            if not left:
                return
            done.repeated += len(left)
        raise RuntimeError(f"{len(left)} users were written by others {ATTEMPTS} times in a row")

    def _updates(self, fresh: Mapping[str, Fresh], done: Done) -> list[Update]:
        users = list(fresh)
        stored = self._store.states(self._space.name, users)
        states = [
            self._space.states.add(
                self._space.bytes.decode(state.value) if state else UserState.empty(),
                fresh[user_id].plays,
                fresh[user_id].picks,
            )
            for user_id, state in zip(users, stored, strict=True)
        ]
        vectors, states = self._published(users, states, done)
        return [
            Update(
                user_id=user_id,
                subject=subject(self._serving.key, user_id),
                version=before.version if before else 0,
                state=self._space.bytes.encode(state),
                vector=vector,
            )
            for user_id, before, state, vector in zip(users, stored, states, vectors, strict=True)
        ]

    def _published(
        self, users: Sequence[str], states: list[UserState], done: Done
    ) -> tuple[list[bytes | None], list[UserState]]:
        """The vectors that pass the gate, packed, and the states that know of it."""
        if not users:
            return [], []
        kept = self._store.vectors(self._space.name, users)
        before = [unpack_vector(value) if value else None for value in kept]
        moments = self._moments(states, [old.as_of if old else 0 for old in before])
        vectors, status = self._space.embed(states, moments)
        faults = self._serving.gate.faults(
            [
                Made(vector, old.values if old else None, state.unpublished, known(state))
                for vector, old, state in zip(vectors, before, states, strict=True)
            ]
        )
        done.held.update(fault for fault in faults if fault)
        done.published += sum(fault is None for fault in faults)
        packed = [
            None if fault else self._packed(vector, int(moment), cast("Status", str(how)))
            for vector, moment, how, fault in zip(vectors, moments, status, faults, strict=True)
        ]
        told = [
            state if fault else replace(state, unpublished=0)
            for state, fault in zip(states, faults, strict=True)
        ]
        return packed, told

    def _moments(self, states: Sequence[UserState], before: Sequence[int]) -> np.ndarray:
        """As of when each row is: now, and later than what is published."""
        now = np.full(len(states), self._clock())
        if self._serving.by_events:
            now = np.array([last_event(state) for state in states])
        return np.maximum(now, np.array(before) + 1)

    def _packed(self, vector: np.ndarray, as_of: int, status: Status) -> bytes:
        keep = self._serving.keep_days * 86_400 * SECOND
        expires_at = as_of + round(keep) if keep else 0
        source: Source = "cold_start" if status == "cold_start" else "nrt"
        return pack_vector(Vector(vector, as_of, expires_at, source, status), self._serving.dtype)


def fresh_by_user(space: NrtSpace, records: Sequence[Record]) -> dict[str, Fresh]:
    """What records of the log say of each user, as states keep it."""
    tables = as_tables(decode(record.payload) for record in records)
    found: dict[str, Fresh] = {}
    if LISTENS in tables:
        for user_id, rows in _of_users(tables[LISTENS], space.plays(tables[LISTENS])):
            found.setdefault(user_id, Fresh()).plays = rows
    if ONBOARDING in tables:
        for user_id, rows in _of_users(tables[ONBOARDING], space.picks(tables[ONBOARDING])):
            found.setdefault(user_id, Fresh()).picks = rows
    return found


def _of_users(table: pa.Table, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Rows by user, in their order."""
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    owner = encoded.indices.to_numpy()
    order = np.argsort(owner, kind="stable")
    cuts = np.cumsum(np.bincount(owner, minlength=len(encoded.dictionary)))[:-1]
    return list(zip(encoded.dictionary.to_pylist(), np.split(rows[order], cuts), strict=True))


def known(state: UserState) -> int:
    """All plays and picks of a user."""
    return state.counted + len(state.picks)


def last_event(state: UserState) -> int:
    """When the user last did anything, in microseconds."""
    return int(max(state.plays["at"].max(initial=0), state.picks["at"].max(initial=0))) + 1
