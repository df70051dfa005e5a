import dataclasses

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from simulate.catalogue import catalogue
from simulate.config import DAY, Simulation
from simulate.listeners import listeners, population
from simulate.places import CHRONOTYPES, COUNTRIES, LANGUAGES


def test_a_listener_is_the_same_whoever_is_made_beside(simulation):
    many = listeners(simulation, np.arange(40))
    one = listeners(simulation, np.array([17]))
    for field in dataclasses.fields(one):
        rows = [34, 35] if field.name in ("hours", "surfaces") else [17]
        assert_array_equal(getattr(many, field.name)[rows], getattr(one, field.name))


def test_mixtures_and_languages_are_shares_of_the_whole(simulation, everybody):
    crowd = listeners(simulation, everybody)
    for shares in (crowd.start, crowd.end, crowd.languages):
        assert shares.min() >= 0
        assert_allclose(shares.sum(axis=1), 1)


def test_activity_is_heavy_tailed_and_sums_to_the_events(simulation):
    events = np.sort(population(simulation).events)[::-1]
    assert events.sum() == simulation.events
    assert events[: len(events) // 10].sum() > 0.35 * simulation.events
    assert np.median(events) < events.mean()


def test_users_register_before_and_all_through_the_period(simulation):
    days = (population(simulation).registered_us - simulation.starts_us) / DAY
    assert abs((days > 0).mean() - simulation.new_user_share) < 0.06
    assert {int(day // 30) for day in days[days > 0]} == {0, 1, 2, 3}


def test_taste_is_steady_or_drifts_or_switches(simulation, everybody):
    crowd = listeners(simulation, everybody)
    steady = (crowd.start == crowd.end).all(axis=1)
    abrupt = ~steady & (crowd.drift_until_us - crowd.drift_from_us < DAY)
    assert abs(steady.mean() - simulation.steady_share) < 0.05
    assert abs(abrupt.mean() - simulation.abrupt_share) < 0.05
    middle = np.full(len(everybody), (simulation.starts_us + simulation.ends_us) // 2)
    moved = crowd.moved(everybody, middle)
    assert_allclose(moved[~steady & ~abrupt], 0.5)
    assert set(moved[abrupt]) == {0.0, 1.0}


def test_people_listen_most_in_their_own_language(simulation, everybody):
    crowd = listeners(simulation, everybody)
    home = np.array([LANGUAGES.index(each.language) for each in COUNTRIES])[crowd.country]
    assert crowd.languages[everybody, home].mean() > 0.6


def test_commuters_hear_more_podcasts_than_people_in_the_evening(simulation, everybody):
    crowd = listeners(simulation, everybody)
    share = crowd.start[:, 16:].sum(axis=1)
    names = np.array([each.name for each in CHRONOTYPES])[crowd.chronotype]
    assert share[names == "commuter"].mean() > 1.4 * share[names == "evening"].mean()


def test_favourites_are_of_their_genre_and_out_at_registration(simulation, everybody):
    crowd, shelf = listeners(simulation, everybody), catalogue(simulation)
    assert (shelf.genre[crowd.favourites] == np.arange(24)[:, None]).all()
    debut = shelf.released_us[shelf.creators.low]
    assert (debut[crowd.favourites] <= crowd.registered_us[:, None, None]).all()


def test_old_accounts_have_favourite_shows_of_their_own():
    simulation = Simulation(events=100_000)
    crowd, shelf = listeners(simulation, np.arange(500)), catalogue(simulation)
    stands_in = np.isin(crowd.favourites[:, 16:], shelf.creator[shelf.evergreen])
    assert stands_in[crowd.registered_us < simulation.starts_us].mean() < 0.35
