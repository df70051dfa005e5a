"""Sends recorded listens, each at its turn, over some connections at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasteprint.replay_schedule import bodies, end_of_request, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasteprint.replay_client import Service
    from tasteprint.replay_tally import Tally


@dataclass(frozen=True)
class Pace:
    """How events are sent.

    Attributes:
        speed: event time over wall time; 0 for as fast as they are taken.
        batch_events: events of one request at most.
        run: what new ids end with, where events shall seem to be played as they are sent; None
            where they go as they were.
    """

    speed: float
    batch_events: int
    run: str | None = None


class Player:
    """Hands events out in order, each at its turn.

    Args:
        service: that takes them.
        rows: listens, as ``replay_events.Recorded`` has them.
        pace: how they are sent.
        tally: that is told how late they are.
        accepted: is given the events that the service has taken, after each request.

    Attributes:
        events: how many there are.
    """

    def __init__(
        self,
        service: Service,
        rows: pa.Table,
        pace: Pace,
        tally: Tally,
        accepted: Callable[[Sequence[dict[str, Any]]], None],
    ) -> None:
        self._service, self._rows, self._pace = service, rows, pace
        self._tally, self._accepted = tally, accepted
        self._due = turns(rows["played_at"].cast(pa.int64()).to_numpy(), pace.speed)
        self._next, self._turn = 0, asyncio.Lock()
        self.events = len(rows)

    async def connection(self) -> None:
        """Send one request after the other, until no events are left; several may run at a time.

        Raises:
            ServiceError: as ``Service.send``.
        """
        while (rows := await self._take()) is not None:
            now = None if self._pace.run is None else datetime.now(UTC)
            sent = bodies(rows, now, self._pace.run or "")
            reasons = await self._service.send(sent)
            self._accepted([event for event, bad in zip(sent, reasons, strict=True) if not bad])

    async def _take(self) -> pa.Table | None:
        """The events of the next request, once the first of them is due; None at the end."""
        async with self._turn:
            first = self._next
            if first == len(self._due):
                return None
            early = self._due[first] - self._tally.elapsed
            if early > 0:
                await asyncio.sleep(early)
            if self._pace.speed:
                self._tally.behind = max(0.0, -early)
            elapsed, most = self._tally.elapsed, self._pace.batch_events
            self._next = end_of_request(self._due, first, elapsed, most)
            return self._rows.slice(first, self._next - first)
