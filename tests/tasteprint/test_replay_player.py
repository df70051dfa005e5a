import asyncio

import pytest

from tasteprint.replay_client import open_service
from tasteprint.replay_player import Pace, Player
from tasteprint.replay_tally import Tally

EVENTS = "/v1/events"


@pytest.fixture
def play(stand_in):
    """Sends rows over some connections; returns what was counted and the accepted events."""

    def run(rows, pace: Pace, connections: int = 3):
        tally, accepted = Tally(), []

        async def all_connections():
            async with open_service(stand_in.url, "token", tally) as service:
                player = Player(service, rows, pace, tally, accepted.extend)
                tally.start(player.events)
                await asyncio.gather(*(player.connection() for _ in range(connections)))

        asyncio.run(all_connections())
        return tally, accepted

    return run


@pytest.fixture
def fifty(plays):
    """Fifty plays of two users, a minute apart."""
    return plays(*(("ann" if minute % 2 else "bob", minute) for minute in range(50)))


@pytest.mark.parametrize("speed", [0.0, 1e6])
def test_every_event_is_sent_once_in_requests_of_at_most_that_many(play, stand_in, fifty, speed):
    tally, accepted = play(fifty, Pace(speed, batch_events=7))
    sent = [body["listens"] for body in stand_in.bodies(EVENTS)]
    assert sorted(row["event_id"] for rows in sent for row in rows) == sorted(
        fifty["event_id"].to_pylist()
    )
    assert max(map(len, sent)) <= 7
    assert tally.accepted == len(accepted) == 50


def test_over_one_connection_events_come_in_the_order_of_time(play, stand_in, fifty):
    play(fifty, Pace(1e5, batch_events=7), connections=1)
    sent = [row["event_id"] for body in stand_in.bodies(EVENTS) for row in body["listens"]]
    assert sent == fifty["event_id"].to_pylist()


def test_what_is_far_apart_goes_in_requests_of_its_own(play, stand_in, plays):
    play(plays(("ann", 0), ("ann", 0), ("bob", 10)), Pace(600.0, batch_events=7))
    assert [len(body["listens"]) for body in stand_in.bodies(EVENTS)] == [2, 1]


def test_plays_of_now_have_ids_of_the_run_that_a_second_sending_repeats(play, stand_in, plays):
    stand_in.ready[EVENTS] = [(429, {"Retry-After": "0"}, {})]
    play(plays(("ann", 0)), Pace(0.0, batch_events=7, run="r1"))
    first, second = stand_in.bodies(EVENTS)
    assert first == second
    assert first["listens"][0]["event_id"] == "e0-r1"
    assert first["listens"][0]["played_at"] > "2026-03-02"


def test_refused_events_are_not_called_accepted(play, stand_in, plays):
    refused = [{"table": "listens", "index": 0, "reasons": ["item_id is not in items (a)"]}]
    stand_in.ready[EVENTS] = [(422, {}, {"accepted": 1, "refused": refused})]
    tally, accepted = play(plays(("ann", 0), ("bob", 0)), Pace(0.0, batch_events=7))
    assert [event["user_id"] for event in accepted] == ["bob"]
    assert (tally.accepted, tally.refused) == (1, 1)
