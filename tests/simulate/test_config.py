import datetime as dt

import pytest
from pydantic import ValidationError

from simulate.config import DAY, Simulation


@pytest.mark.parametrize(
    ("events", "users", "items"),
    [(10_000, 166, 480), (100_000, 1_666, 4_545), (10_000_000, 166_666, 100_000)],
)
def test_users_and_items_follow_from_the_events(events, users, items):
    simulation = Simulation(events=events)
    assert (simulation.user_count, simulation.item_count) == (users, items)


def test_users_and_items_that_are_given_stay():
    simulation = Simulation(events=10_000, users=50, items=1_000)
    assert (simulation.user_count, simulation.item_count) == (50, 1_000)


def test_the_period_is_in_microseconds_since_1970():
    simulation = Simulation(days=30, ends_at=dt.datetime(1970, 2, 1, tzinfo=dt.UTC))
    assert (simulation.starts_us, simulation.ends_us) == (DAY, 31 * DAY)


def test_more_events_than_fit_into_the_days_are_refused():
    with pytest.raises(ValidationError, match="give more users or more days"):
        Simulation(events=100_000, users=10, days=30)


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Simulation(evnets=10_000)
