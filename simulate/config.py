"""What a simulation is made from: its size, its period and a handful of shares."""

import datetime as dt
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

EVENTS_PER_USER = 60
EVENTS_PER_ITEM = 22
MIN_USERS = 20
MIN_ITEMS = 480  # twenty for each of the 24 genres
MAX_ITEMS = 100_000  # keeps the catalogue that each worker holds under 50 MB
MAX_EVENTS_PER_DAY = 50  # of a user on average; more would not fit into a day

MICROSECOND = dt.timedelta(microseconds=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MINUTE = 60_000_000  # microseconds, as every moment and span in this package
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY


class Simulation(BaseModel):
    """Everything that the simulated rows depend on: equal configurations give equal rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    events: int = Field(default=100_000, ge=1_000, le=100_000_000)
    """Plays in all; a fraction of a per cent fewer come out, those that would end up too late."""
    seed: int = Field(default=7, ge=0)
    """Seed of every random number."""
    days: int = Field(default=120, ge=14, le=3_650)
    """Length of the period in which listens are logged, in days."""
    ends_at: AwareDatetime = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    """End of that period; no play begins at or after it."""
    users: int | None = Field(default=None, ge=1)
    """Listeners; one for every 60 events where not given."""
    items: int | None = Field(default=None, ge=MIN_ITEMS)
    """Tracks and episodes; one for every 22 events, 480 to 100,000, where not given."""
    episode_share: float = Field(default=0.25, ge=0.1, le=0.5)
    """Share of the items that are podcast episodes."""
    new_item_share: float = Field(default=0.3, ge=0, le=0.9)
    """Share of the items that are released during the period instead of before it."""
    new_user_share: float = Field(default=0.35, ge=0, le=0.9)
    """Share of the users who register during the period instead of before it."""
    steady_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the users whose taste does not move."""
    abrupt_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the users whose taste changes from one day to the next; the rest drifts slowly."""
    late_share: float = Field(default=0.03, ge=0, le=1)
    """Share of the events that we learn of up to two days late, as from phones without network."""

    @model_validator(mode="after")
    def _fits_the_period(self) -> Self:
        if self.events > self.user_count * self.days * MAX_EVENTS_PER_DAY:
            raise ValueError(
                f"{self.events} events of {self.user_count} users in {self.days} days are more "
                f"than {MAX_EVENTS_PER_DAY} a day for each: give more users or more days"
            )
        if self.steady_share + self.abrupt_share > 1:
            raise ValueError("steady_share and abrupt_share are more than 1 together")
        return self

    @property
    def user_count(self) -> int:
        """Listeners, given or derived."""
        return self.users or max(MIN_USERS, self.events // EVENTS_PER_USER)

    @property
    def item_count(self) -> int:
        """Tracks and episodes, given or derived."""
        return self.items or min(max(self.events // EVENTS_PER_ITEM, MIN_ITEMS), MAX_ITEMS)

    @property
    def ends_us(self) -> int:
        """End of the period, microseconds since 1970."""
        return (self.ends_at - EPOCH) // MICROSECOND

    @property
    def starts_us(self) -> int:
        """Start of the period, microseconds since 1970."""
        return self.ends_us - self.days * DAY
