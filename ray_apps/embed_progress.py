"""How far embedding is, in lines that a person and a log can read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ray_apps.bucket_plan import Bucket

SUMMED = ("rows", "embedded", "read", "written", "retries", "core_seconds")
EVERY = 5.0  # seconds
UNITS = ("B", "kB", "MB", "GB", "TB")


class EmbedProgress:
    """Counts buckets as they end, and says so every few seconds and at the end.

    Args:
        buckets: that are to be embedded.
        say: takes a line.
        clock: seconds.
    """

    def __init__(
        self,
        buckets: Sequence[Bucket],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buckets, self._users = len(buckets), sum(bucket.rows for bucket in buckets)
        self._rows_of = {bucket.number: bucket.rows for bucket in buckets}
        self._say, self._clock = say, clock
        self._first: tuple[float, int] | None = None
        self._said = float("-inf")
        self._gone = 0  # users of buckets that have ended, embedded or not
        self.done = 0
        self.totals = dict.fromkeys(SUMMED, 0.0)
        self.aside: dict[int, str] = {}

    def count(self, told: dict[str, Any]) -> None:
        """Add what became of a bucket, as ``EmbedBucket`` tells it."""
        for name in self.totals:
            self.totals[name] += told[name]
        bucket = told["bucket"]
        self._gone += self._rows_of[bucket]
        if told["reason"]:
            self.aside[bucket] = told["reason"]
            self._say(f"embed: bucket {bucket} is set aside: {told['reason']}")
        else:
            self.done += 1
        now = self._clock()
        # Rates begin with the first end: what came before it is start-up.
        self._first = self._first or (now, self._gone)
        if now - self._said >= EVERY or self.done + len(self.aside) == self._buckets:
            self._said = now
            self._say(self.line(now))

    def line(self, now: float) -> str:
        """Buckets, users, speed, bytes, what went wrong, and how long it will take."""
        totals = self.totals
        parts = [
            f"{self.done + len(self.aside):,} of {self._buckets:,} buckets",
            f"{totals['rows']:,.0f} of {self._users:,} users",
        ]
        if rate := self._rate(now):
            parts.append(f"{rate:,.0f} users/s")
        parts.append(f"{_bytes(totals['read'])} read, {_bytes(totals['written'])} written")
        if carried := totals["rows"] - totals["embedded"]:
            parts.append(f"{carried:,.0f} carried over")
        if totals["retries"]:
            parts.append(f"{totals['retries']:.0f} tried again")
        if self.aside:
            parts.append(f"{len(self.aside):,} set aside")
        left = self._users - self._gone
        if rate and left:
            parts.append(f"{_duration(left / rate)} left")
        return f"embed: {', '.join(parts)}"

    def _rate(self, now: float) -> float:
        since, before = self._first or (now, 0)
        return (self._gone - before) / (now - since) if now > since else 0.0


def _bytes(count: float) -> str:
    step = 0
    while count >= 1000 and step + 1 < len(UNITS):  # noqa: PLR2004 - SI
        count, step = count / 1000, step + 1
    return f"{count:.{1 if step else 0}f} {UNITS[step]}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
