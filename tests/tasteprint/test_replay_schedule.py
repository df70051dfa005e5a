from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasteprint.replay_schedule import bodies, end_of_request, turns

MOMENTS = st.lists(st.integers(0, 10**15), min_size=1).map(lambda at: np.sort(np.array(at)))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_an_hour_takes_a_minute_at_speed_60():
    an_hour = 3_600_000_000
    assert turns(np.array([5, 5 + an_hour]), 60).tolist() == [0, 60]


def test_without_a_speed_everything_is_due_at_once():
    assert turns(np.array([5, 10**15]), 0).tolist() == [0, 0]


@given(MOMENTS, st.floats(0.1, 1e6))
def test_turns_keep_the_order_and_begin_with_the_first(played_at, speed):
    due = turns(played_at, speed)
    assert due[0] == 0
    assert (np.diff(due) >= 0).all()


@given(MOMENTS, st.floats(0.1, 1e6), st.integers(1, 5), st.floats(0, 1e6))
def test_requests_hold_every_event_once_and_none_before_its_turn(played_at, speed, most, late):
    due, first = turns(played_at, speed), 0
    while first < len(due):
        elapsed = due[first] + late
        end = end_of_request(due, first, elapsed, most)
        assert first < end <= first + most
        assert (due[first:end] <= elapsed).all()
        assert end == len(due) or end == first + most or due[end] > elapsed
        first = end


def test_an_event_goes_as_it_was_without_what_is_null_or_filled_by_the_service(plays):
    rows = plays(("ann", 5), begin=NOW).drop_columns(["ingested_at"])
    assert bodies(rows, None, "") == [
        {
            "event_id": "e0",
            "user_id": "ann",
            "item_id": "a",
            "item_kind": "track",
            "played_at": "2026-03-01T12:05:00.000000Z",
        }
    ]


def test_an_event_of_now_has_a_new_id(plays):
    (event,) = bodies(plays(("ann", 0)), NOW + timedelta(days=9), "r1")
    assert event["event_id"] == "e0-r1"
    assert event["played_at"] == "2026-03-10T12:00:00.000000Z"
