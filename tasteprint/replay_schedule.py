"""When an event's turn is, which go together, and what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.rows import iso_text

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

SECOND = 1_000_000  # microseconds


def turns(played_at: np.ndarray, speed: float) -> np.ndarray:
    """When each event is to be sent, in seconds after the first.

    Args:
        played_at: (N,) int64, microseconds, ascending.
        speed: event time over wall time; 0 for at once.

    Returns:
        (N,) float64, ascending.
    """
    if not speed:
        return np.zeros(len(played_at))
    return (played_at - played_at[:1]) / SECOND / speed


def end_of_request(due: np.ndarray, first: int, elapsed: float, most: int) -> int:
    """Where the request that begins with an event ends: it takes what is due by now.

    Args:
        due: (N,) float64, as ``turns`` gives it.
        first: place of the request's first event, whose turn has come.
        elapsed: seconds since the first event of all.
        most: events of a request.
    """
    ready = int(np.searchsorted(due, elapsed, side="right"))
    return max(first + 1, min(ready, first + most))


def bodies(rows: pa.Table, now: datetime | None, run: str) -> list[dict[str, Any]]:
    """Events as the service takes them, without what is null.

    Args:
        rows: of listens, times in UTC.
        now: when they are played as far as the service shall know; None as it was.
        run: makes ids new where the time is.
    """
    return [_body(row, now, run) for row in rows.to_pylist()]


def _body(row: dict[str, Any], now: datetime | None, run: str) -> dict[str, Any]:
    said = {name: value for name, value in row.items() if value is not None}
    if now is not None:
        said["event_id"] = f"{row['event_id']}-{run}"
    return said | {"played_at": iso_text(now or row["played_at"])}
