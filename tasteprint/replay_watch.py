"""Looks at a few users while their plays come in: how soon a vector knows them, where it turns."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ray_apps.nrt_bodies import Embedding
    from tasteprint.replay_client import Service
    from tasteprint.replay_names import ItemNames
    from tasteprint.replay_tally import Tally

POLL = 0.02  # seconds between two looks at vectors while events wait to be seen
REFRESH = 1.0  # seconds between two looks at nearest items
UNSEEN = 10.0  # seconds after which nobody waits for an event to be seen
SHOWN = 3  # nearest items
SHORT = 8  # characters of an id


class Awaited(NamedTuple):
    """An accepted event that no vector has shown yet.

    Attributes:
        played_at: its moment.
        accepted: when it was accepted, by the monotonic clock.
        before: the moment of the vector that was seen last.
    """

    played_at: datetime
    accepted: float
    before: datetime | None

    def seen_in(self, as_of: datetime | None) -> bool:
        """Whether a vector of that moment knows the event.

        A vector is as of its newest event or later. Of an event of long ago that says nothing:
        there the vector has to be another one than before.
        """
        if as_of is None:
            return False
        return as_of >= self.played_at and (self.before is None or as_of > self.before)


@dataclass
class Watched:
    """What is known of one user.

    Attributes:
        user_id: who.
        plays: events that were accepted.
        first: (d,) the vector at the beginning; None while there is none.
        vector: (d,) the vector now.
        as_of: its moment.
        nearest: items nearest to it, as they are shown.
        awaited: events that it does not know yet.
    """

    user_id: str
    plays: int = 0
    first: np.ndarray | None = None
    vector: np.ndarray | None = None
    as_of: datetime | None = None
    nearest: list[str] = field(default_factory=list)
    awaited: list[Awaited] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As much of the id as is shown."""
        return self.user_id if len(self.user_id) <= SHORT else f"{self.user_id[:SHORT]}…"

    @property
    def turned(self) -> float:
        """Degrees between the first vector and this one."""
        if self.first is None or self.vector is None:
            return 0.0
        lengths = np.linalg.norm(self.first) * np.linalg.norm(self.vector)
        return float(np.degrees(np.arccos(np.clip(self.first @ self.vector / lengths, -1, 1))))

    def see(self, found: Embedding, now: float) -> list[float]:
        """Look at a vector; returns after how many seconds each event is in it that was not."""
        if found.embedding is None or found.as_of is None:
            return []
        self.vector = np.array(found.embedding)
        self.as_of = datetime.fromisoformat(found.as_of)
        if self.first is None:
            self.first = self.vector
        shown = [one for one in self.awaited if one.seen_in(self.as_of)]
        self.awaited = [one for one in self.awaited if not one.seen_in(self.as_of)]
        return [now - one.accepted for one in shown]

    def give_up(self, before: float) -> int:
        """Wait no more for what was accepted before that; returns how many events those are."""
        kept = [one for one in self.awaited if one.accepted >= before]
        given_up = len(self.awaited) - len(kept)
        self.awaited = kept
        return given_up


class Watch:
    """Keeps what is known of some users up to date.

    Args:
        service: that is asked.
        user_ids: who is watched.
        names: what items are called.
        tally: where seconds are counted.

    Attributes:
        users: what is known of each, in the order of their ids as given.
    """

    def __init__(
        self, service: Service, user_ids: Iterable[str], names: ItemNames, tally: Tally
    ) -> None:
        self._service, self._names, self._tally = service, names, tally
        self.users = [Watched(user_id) for user_id in user_ids]
        self._by_id = {user.user_id: user for user in self.users}
        self._woken, self._settled = asyncio.Event(), asyncio.Event()
        self._settled.set()

    def accepted(self, events: Sequence[dict[str, Any]]) -> None:
        """Take note of events that the service has."""
        now = time.monotonic()
        plays = Counter(event["user_id"] for event in events if event["user_id"] in self._by_id)
        newest = {event["user_id"]: event["played_at"] for event in events}
        for user_id, count in plays.items():
            user = self._by_id[user_id]
            user.plays += count
            at = datetime.fromisoformat(newest[user_id])
            user.awaited.append(Awaited(at, now, user.as_of))
            self._settled.clear()
            self._woken.set()

    async def look(self) -> None:
        """Look at all vectors once."""
        if not self._by_id:
            return
        found = await self._service.embeddings(list(self._by_id))
        now = time.monotonic()
        for user, embedding in zip(self.users, found, strict=True):
            self._tally.visible.extend(user.see(embedding, now))
            self._tally.unseen += user.give_up(now - UNSEEN)

    async def follow(self) -> None:
        """Look again and again while events wait to be seen; never ends."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._is_awaited():
                await self.look()
                await asyncio.sleep(POLL)
            self._settled.set()

    async def refresh(self) -> None:
        """Look at the nearest items again and again; never ends."""
        while True:
            await self.look_at_items()
            await asyncio.sleep(REFRESH)

    async def look_at_items(self) -> None:
        """Look at everybody's nearest items once."""
        for user in self.users:
            user.nearest = await self._names.of(await self._service.nearest(user.user_id, SHOWN))

    async def settle(self) -> None:
        """Wait until all that was accepted is seen, or given up."""
        await self._settled.wait()

    def _is_awaited(self) -> bool:
        return any(user.awaited for user in self.users)
