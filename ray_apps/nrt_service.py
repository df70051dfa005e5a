"""What the service does, without HTTP: takes events in, and answers with vectors."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lakehouse.event_codec import FILLED, LISTENS, ONBOARDING, TABLES, Event, encode
from lakehouse.online import Vector, unpack_vector
from lakehouse.suppression import subject
from ray_apps.nrt_bodies import Accepted, Refused
from ray_apps.nrt_directory import RecentDirectory, batch_of
from schemas.contract import contract
from schemas.errors import TasteprintError
from schemas.rows import RowJudge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakehouse.event_log import LogWriter
    from lakehouse.online import OnlineStore
    from ray_apps.nrt_bodies import Anonymous
    from ray_apps.nrt_metrics import Metrics

log = logging.getLogger(__name__)
SECOND = 1_000_000  # microseconds


class BusyError(TasteprintError):
    """More comes in than is worked off; the caller is to come again later."""


class GoneError(TasteprintError):
    """The person was erased, and no event brings them back."""


@dataclass(frozen=True)
class Limits:
    """When the service says no.

    Attributes:
        backlog: bytes of the log that the live space has not seen yet.
        stale_after: seconds after which a vector is called stale.
    """

    backlog: int = 64 << 20
    stale_after: float = 172_800.0


class Read(NamedTuple):
    """A vector that was read, and what a reader has to know of it."""

    user_id: str
    batch_id: str
    status: str
    vector: Vector

    def answer(self) -> dict[str, Any]:
        """As ``nrt_bodies.Embedding`` has it."""
        return {
            "user_id": self.user_id,
            "batch_id": self.batch_id,
            "status": self.status,
            "source": self.vector.source,
            "as_of": as_text(self.vector.as_of),
            "embedding": self.vector.values.tolist(),
        }


class NrtService:
    """Takes events in and answers with vectors.

    Args:
        store: the online store.
        writer: of the log.
        known_items: whether there is an item of that id.
        key: of the hashes by which erased people are known.
        metrics: what is counted.
        limits: when it says no.

    Attributes:
        backlog: bytes of the log that the live space has not seen; whoever knows them says so here.
    """

    def __init__(
        self,
        store: OnlineStore,
        writer: LogWriter,
        known_items: Callable[[str], bool],
        key: bytes,
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        self._store, self._writer, self._known_items = store, writer, known_items
        self._key, self._metrics, self._limits = key, metrics, limits
        self.backlog: Callable[[], int] = lambda: 0
        self.directory = RecentDirectory(store)
        self._filled = {
            table: [name for name in FILLED if name in contract(table).column_names]
            for table in TABLES
        }
        self._judges = {
            table: RowJudge(contract(table), filled) for table, filled in self._filled.items()
        }

    async def accept(self, rows: Sequence[tuple[str, int, Mapping[str, Any]]]) -> Accepted:
        """Judge events and return once the good ones, and the refused with reasons, are durable.

        Args:
            rows: table, place within the request, and what came.

        Raises:
            BusyError: the backlog is too long.
            GoneError: one of the users was erased.
            LogFullError: the log cannot be written.
        """
        waiting = self.backlog()
        if waiting > self._limits.backlog:
            raise BusyError(f"{waiting:,} bytes of events wait to be worked off")
        now = datetime.now(UTC)
        judged = [(table, index, self._judged(table, row, now)) for table, index, row in rows]
        self._require_nobody_erased([event for _, _, event in judged if not event.reasons])
        await self._writer.append([encode(event) for _, _, event in judged])
        refused = [
            Refused(table=table, index=index, reasons=list(event.reasons))
            for table, index, event in judged
            if event.reasons
        ]
        self._metrics.events(len(judged) - len(refused), len(refused))
        return Accepted(accepted=len(judged) - len(refused), refused=refused)

    def judged_alone(self, asked: Anonymous) -> tuple[list[Event], list[Refused]]:
        """The events of somebody without an account, who needs no id and no ids of events."""
        now, events, refused = datetime.now(UTC), [], []
        for table in (LISTENS, ONBOARDING):
            for index, row in enumerate(getattr(asked, table)):
                event = self._judged(table, {"user_id": "?", **_named(table, index), **row}, now)
                events.append(event)
                if event.reasons:
                    reasons = list(event.reasons)
                    refused.append(Refused(table=table, index=index, reasons=reasons))
        return events, refused

    def batch_id(self, batch: str) -> str:
        """The id of the batch that answers for live, legacy or an id."""
        return batch_of(self.directory.get().space_of(batch))

    def _judged(self, table: str, row: Mapping[str, Any], now: datetime) -> Event:
        judge = self._judges[table]
        filled = dict.fromkeys(self._filled[table], now)
        values, reasons = judge.judge(row, now, filled)
        if not reasons and table == LISTENS and not self._known_items(values["item_id"]):
            reasons = [f"item_id is not in items ({values['item_id'][:64]})"]
        return Event(table, row if reasons else values, tuple(reasons))

    def _require_nobody_erased(self, events: Sequence[Event]) -> None:
        subjects = sorted({subject(self._key, event.row["user_id"]) for event in events})
        if any(self._store.erased(subjects)):
            raise GoneError("one of the users was erased; events of theirs are not taken")

    def read(self, user_id: str, batch: str) -> Read | None:
        """The vector of a user; None if nobody of that id is in the batch.

        Raises:
            BatchError: the batch is not served.
        """
        space = self.directory.get().space_of(batch)
        return self._read(space, self._store.vectors(space, (user_id,))[0], user_id)

    def embeddings(self, user_ids: Sequence[str], batch: str) -> list[dict[str, Any]]:
        """Vectors of users as ``nrt_bodies.Embedding`` has them, all of one space.

        Raises:
            BatchError: the batch is not served.
        """
        space = self.directory.get().space_of(batch)
        values = self._store.vectors(space, user_ids)
        found = [
            self._read(space, value, user_id)
            for user_id, value in zip(user_ids, values, strict=True)
        ]
        return [
            read.answer() if read else _missing(user_id, batch_of(space))
            for user_id, read in zip(user_ids, found, strict=True)
        ]

    def _read(self, space: str, value: bytes | None, user_id: str) -> Read | None:
        if value is None:
            self._metrics.missing()
            return None
        vector = unpack_vector(value)
        age = time.time() - vector.as_of / SECOND
        self._metrics.read(vector.source, age)
        status = "stale" if age > self._limits.stale_after else "fresh"
        return Read(user_id, batch_of(space), status, vector)

    def erase(self, user_id: str) -> int:
        """Remove a person from the store, for good; returns how many records there were."""
        who = subject(self._key, user_id)
        removed = self._store.erase(user_id, who, time.time_ns() // 1_000)
        log.info("erased %s: %d records", short(user_id), removed)
        return removed


def _missing(user_id: str, batch_id: str) -> dict[str, Any]:
    return {"user_id": user_id, "batch_id": batch_id, "status": "missing"}


def _named(table: str, index: int) -> dict[str, str]:
    return {"event_id": f"{index}"} if table == LISTENS else {}


def as_text(at: int) -> str:
    """Microseconds since 1970 as ISO 8601, UTC."""
    return datetime.fromtimestamp(at / SECOND, UTC).isoformat(timespec="microseconds")


def short(user_id: str) -> str:
    """An id as logs may name it: enough to find it again, too little to read it."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:12]
