"""Settings of the near-real-time service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.settings import Settings


class ServeNrt(Settings):
    """Serve vectors, and make them anew from events, within a second."""

    lakehouse: str = "var/lakehouse"
    """Folder or URI of the lakehouse."""
    store: str = "var/online"
    """Folder of the embedded store, or URL of a Redis (redis://, rediss://, unix://)."""
    event_log: str = "var/events"
    """Folder of the embedded log, or a JSON file that says where in Kafka it is: servers, topic,
    security."""
    token_file: str | None = None
    """File of tokens, from `tasteprint tokens`; without it the text of TASTEPRINT_TOKENS."""
    metrics: str = "var/metrics"
    """Folder in which the processes share their counters."""
    read_port: int | None = Field(default=None, ge=1, le=65535)
    """Port at which every replica answers by itself too, without the front: more reads per second,
    and no TLS."""
    read_host: str = "127.0.0.1"
    """Address of that port."""
    store_size: int = Field(default=2**40, gt=0)
    """Bytes that the embedded store may grow to; its file takes only what is in it."""
    replicas: int = Field(default=1, ge=1)
    """Processes that answer."""
    updaters: int = Field(default=1, ge=1)
    """Processes that make vectors."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of vectors in the store."""
    keep_days: float = Field(default=0.0, ge=0)
    """Days for which a vector is served without another event; 0 for ever."""
    stale_hours: float = Field(default=48.0, gt=0)
    """Age from which on a vector is called stale."""
    jump: float = Field(default=0.2, ge=0, le=2)
    """1 - cosine by which a vector may turn with any event; the more is new the more is allowed."""
    replay_days: float = Field(default=2.0, ge=0)
    """Days before a batch's moment from which on the log is read into it: no less than passes
    between an event and the drain that takes it into the lakehouse."""
    max_backlog: int = Field(default=64 << 20, gt=0)
    """Bytes of events that may wait (in Kafka events); with more, new ones are refused a while."""
    grace_seconds: float = Field(default=600.0, ge=0)
    """For which a space stays that nobody is trained on any more, for a quick rollback."""
    moment: Literal["now", "events"] = "now"
    """As of when a vector is made: now, or the user's last event, for events of long ago."""
