import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ray_apps.nrt_bodies import Embedding
from tasteprint.replay_client import open_service
from tasteprint.replay_names import ItemNames
from tasteprint.replay_tally import Tally
from tasteprint.replay_watch import Awaited, Watch, Watched

T0 = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def vector(as_of: datetime | None, *values: float) -> Embedding:
    at = None if as_of is None else as_of.isoformat()
    told = {"user_id": "ann", "batch_id": "b", "status": "fresh", "as_of": at}
    return Embedding(**told, embedding=list(values) or None)


@pytest.mark.parametrize(
    ("before", "as_of", "is_seen"),
    [
        (None, None, False),
        (T0 - MINUTE, T0 - MINUTE, False),
        (T0 - MINUTE, T0 - MINUTE / 2, False),  # of an earlier event
        (T0 - MINUTE, T0, True),
        (None, T0, True),
        (T0 + MINUTE, T0 + MINUTE, False),  # an event of long ago: the vector is as it was
        (T0 + MINUTE, T0 + 2 * MINUTE, True),
    ],
)
def test_an_event_is_seen_in_a_vector_of_its_moment_that_was_not_there_before(
    before, as_of, is_seen
):
    assert Awaited(T0, 0.0, before).seen_in(as_of) is is_seen


def test_seconds_count_from_the_acceptance_of_each_event():
    user = Watched("ann")
    user.see(vector(T0, 1, 0), now=1)
    user.awaited = [Awaited(T0 + MINUTE, 2, T0), Awaited(T0 + 3 * MINUTE, 3, T0)]
    assert user.see(vector(T0 + MINUTE, 1, 0), now=5) == [3]
    assert user.see(vector(T0 + 4 * MINUTE, 1, 0), now=7) == [4]
    assert user.awaited == []


def test_an_event_that_is_never_seen_is_given_up():
    user = Watched("ann", awaited=[Awaited(T0, 2, T0), Awaited(T0, 9, T0)])
    assert user.give_up(before=5) == 1
    assert [one.accepted for one in user.awaited] == [9]


def test_the_turn_is_that_since_the_first_vector_in_degrees():
    user = Watched("ann")
    assert user.turned == 0
    user.see(vector(None), now=0)
    user.see(vector(T0, 1, 0), now=0)
    assert user.turned == 0
    user.see(vector(T0 + MINUTE, 1, 1), now=0)
    user.see(vector(T0 + 2 * MINUTE, 0, 2), now=0)
    assert user.turned == pytest.approx(90)


def test_a_long_id_is_shortened():
    assert Watched("0123456789").name == "01234567…"
    assert Watched("ann").name == "ann"


def test_plays_of_the_watched_move_their_vectors_and_nobody_elses_count(stand_in):
    tally = Tally()

    async def watched() -> Watch:
        async with open_service(stand_in.url, "token", tally) as service:
            watch = Watch(service, ["ann", "bob"], ItemNames(None), tally)
            await watch.look()
            following = asyncio.create_task(watch.follow())
            events = [
                {"user_id": user_id, "played_at": "2026-03-01T00:00:00Z"}
                for user_id in ("ann", "ann", "zoe")
            ]
            await service.send(events)
            watch.accepted(events)
            await watch.settle()
            await watch.look_at_items()
            following.cancel()
            return watch

    ann, bob = asyncio.run(watched()).users
    assert (ann.plays, bob.plays) == (2, 0)
    assert ann.turned == pytest.approx(2 * 3.6)
    assert bob.turned == 0
    assert ann.nearest == ["a", "b", "d"]
    assert (len(tally.visible), tally.unseen) == (1, 0)
    assert np.isfinite(tally.visible[0])
    assert tally.visible[0] > 0


def test_nobody_to_watch_is_nobody_to_ask_about(stand_in):
    async def watched() -> None:
        async with open_service(stand_in.url, "token", Tally()) as service:
            watch = Watch(service, [], ItemNames(None), Tally())
            await watch.look()
            await watch.look_at_items()
            await watch.settle()

    asyncio.run(watched())
    assert stand_in.asked == []
