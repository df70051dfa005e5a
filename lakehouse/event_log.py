"""The log of events that the near-real-time service keeps, whatever holds it.

An event counts as taken once it is in the log for good, and not before. Whoever makes something of
the events reads the log at its own pace, and keeps how far it is together with what it made: so
after any death it goes on where its own store stands, and nothing is lost. A log has partitions,
each in the order in which it was written; between partitions there is no order.

``lakehouse.folder_log`` is the log of one machine, and needs nothing else. ``lakehouse.kafka_log``
is one in Kafka, for many machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PAYLOAD = 2**19  # bytes; Kafka's own default is a million, with what it adds


class LogFullError(InputError):
    """The log takes nothing now: its disk is full or read-only, or nobody answers."""


class LogDamagedError(InputError):
    """What was durable in the log is no longer what was written; the message says where."""


class Record(NamedTuple):
    """One event of the log."""

    at: int
    """Microseconds since 1970, when the log took it; never falls within a partition of a folder."""
    payload: bytes


class LogWriter(Protocol):
    """Takes events, for one event loop."""

    async def append(self, payloads: Sequence[bytes]) -> None:
        """Add events, and return once all of them are durable.

        Raises:
            InputError: one is longer than ``MAX_PAYLOAD``; none was added.
            LogFullError: they are not durable, and may be sent again.
        """
        ...

    def close(self) -> None:
        """End; what still waits is told that it was not taken."""
        ...


class LogReader(Protocol):
    """Gives the events of the partitions that it holds; others of its group hold the others."""

    backlog_unit: ClassVar[Literal["bytes", "records"]]

    def poll(self, most: int, wait: float) -> list[Record]:
        """The next records.

        Args:
            most: how many at most.
            wait: seconds to wait for a first one.

        Raises:
            LogDamagedError: the log is not what was written.
            InputError: the log cannot be read.
        """
        ...

    def position(self) -> dict[str, int]:
        """By partition that is held, the offset after the last record that ``poll`` gave."""
        ...

    def commit(self) -> None:
        """Told once the caller has stored what it made of all records so far."""
        ...

    def backlog(self) -> int:
        """How much of the partitions that are held is not polled yet, in ``backlog_unit``."""
        ...

    def close(self) -> None:
        """Let others of the group have the partitions."""
        ...


def require_sizes(payloads: Sequence[bytes]) -> None:
    """Raise InputError if an event is longer than a log takes."""
    longest = max(map(len, payloads), default=0)
    if longest > MAX_PAYLOAD:
        raise InputError(
            f"an event of {longest} bytes is longer than the log takes ({MAX_PAYLOAD}), "
            "and none of those sent with it was added: send it in a shorter form"
        )
