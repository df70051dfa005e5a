"""What a replay counts, and how it is said in numbers."""

from __future__ import annotations

import re
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lakehouse.quarantine import KIND_ENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMON_REASONS = 5
MS = 1_000.0  # of a second


@dataclass
class Tally:
    """Counts of one replay.

    Attributes:
        total: events that are to be sent.
        accepted: events that the service has.
        refused: events that it does not take.
        reasons: kinds of fault of the refused.
        put_off: requests that were told to come again, or found nobody.
        behind: seconds by which the newest event was sent later than its turn.
        answered: seconds of each request for events, whatever was said of them.
        visible: seconds from accepting an event of a watched user to a vector that knows it.
        unseen: accepted events of watched users that no vector has shown in time.
    """

    total: int = 0
    accepted: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    put_off: int = 0
    behind: float = 0.0
    answered: array[float] = field(default_factory=lambda: array("d"))
    visible: array[float] = field(default_factory=lambda: array("d"))
    unseen: int = 0
    _began: float | None = None
    _ended: float | None = None

    def start(self, total: int) -> None:
        """Let time run, for so many events."""
        self.total, self._began = total, time.monotonic()

    def stop(self) -> None:
        """Let time stand still; a second time changes nothing."""
        self._ended = self._ended or time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning; 0 before."""
        if self._began is None:
            return 0.0
        return (self._ended or time.monotonic()) - self._began

    @property
    def rate(self) -> float:
        """Events that were answered, per second."""
        return self.sent / self.elapsed if self.elapsed else 0.0

    @property
    def sent(self) -> int:
        """Events that were answered."""
        return self.accepted + self.refused

    def count(self, reasons: Sequence[Sequence[str]]) -> None:
        """Take note of what was said of events, nothing being said of good ones."""
        bad = [each for each in reasons if each]
        self.accepted += len(reasons) - len(bad)
        self.refused += len(bad)
        self.reasons.update(kind_of(reason) for each in bad for reason in each)

    def figures(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        return {
            "events": self.total,
            "sent": self.sent,
            "accepted": self.accepted,
            "refused": self.refused,
            "reasons": dict(self.reasons.most_common()),
            "requests": len(self.answered),
            "put_off": self.put_off,
            "seconds": round(self.elapsed, 3),
            "events_per_second": round(self.rate, 1),
            "behind_seconds": round(self.behind, 3),
            "latency_ms": percentiles(self.answered),
            "visible_ms": percentiles(self.visible),
            "visible": len(self.visible),
            "unseen": self.unseen,
        }


def kind_of(reason: str) -> str:
    """A reason without the value that it quotes."""
    return re.sub(KIND_ENDS, "", reason)


def percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 99th percentile in milliseconds; None of nothing."""
    if not seconds:
        return None
    median, high = np.percentile(np.asarray(seconds), [50, 99]) * MS
    return {"p50": round(float(median), 1), "p99": round(float(high), 1)}
