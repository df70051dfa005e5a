import numpy as np
import pytest

from simulate.listeners import listeners
from simulate.sessions import randomness, sessions


@pytest.fixture(scope="module")
def crowd(simulation, everybody):
    return listeners(simulation, everybody)


@pytest.fixture(scope="module")
def sittings(simulation, crowd):
    return sessions(simulation, crowd, randomness(simulation, crowd)[0])


def test_the_sessions_of_a_listener_hold_exactly_their_plays(crowd, sittings):
    held = np.bincount(sittings.listener, weights=sittings.plays, minlength=len(crowd.user))
    assert (held == crowd.events).all()


def test_sessions_are_sorted_and_lie_between_registration_and_the_end(simulation, crowd, sittings):
    order = np.lexsort((sittings.begins_us, sittings.listener))
    assert (order == np.arange(len(order))).all()
    assert (sittings.begins_us >= crowd.opens_us[sittings.listener]).all()
    assert (sittings.begins_us < simulation.ends_us).all()


def test_sessions_of_music_are_longer_than_those_of_podcasts(sittings):
    music, podcasts = (sittings.plays[sittings.is_podcast == kind] for kind in (0, 1))
    assert music.mean() > 6
    assert podcasts.mean() < 2.5


def test_listeners_come_back_to_their_favourites(crowd, sittings):
    favourite = crowd.favourites.reshape(len(crowd.user), -1)[sittings.listener]
    is_favourite = (favourite == sittings.creator[:, None]).any(axis=1)
    strangers = np.roll(favourite, len(favourite) // 2, axis=0)
    assert is_favourite.mean() > 1.5 * (strangers == sittings.creator[:, None]).any(axis=1).mean()
