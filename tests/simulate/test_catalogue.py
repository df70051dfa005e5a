import numpy as np
from numpy.testing import assert_array_equal

from simulate.catalogue import TASTE_ZIPF, ZIPF, catalogue
from simulate.config import DAY, Simulation
from simulate.genres import GENRES, MUSIC


def test_items_are_as_many_as_asked_for_and_every_genre_has_some(simulation):
    shelf = catalogue(simulation)
    assert len(shelf.creator) == simulation.item_count
    assert set(shelf.genre[shelf.creator]) == set(range(len(GENRES)))


def test_a_quarter_of_the_items_are_episodes(simulation):
    shelf = catalogue(simulation)
    is_episode = shelf.genre[shelf.creator] >= len(MUSIC)
    assert abs(is_episode.mean() - simulation.episode_share) < 0.01


def test_popularity_within_a_genre_is_a_power_of_the_rank(simulation):
    shelf = catalogue(simulation)
    weight = np.diff(shelf.popularity)[shelf.genre[shelf.creator] == 0]
    weight = np.sort(weight)[::-1]
    slope = np.polyfit(np.log(1 + np.arange(len(weight))), np.log(weight), 1)[0]
    assert abs(slope + ZIPF) < 1e-6
    assert TASTE_ZIPF < ZIPF


def test_items_come_out_before_and_all_through_the_period(simulation):
    released = catalogue(simulation).released_us
    days = (released - simulation.starts_us) / DAY
    assert abs((days > 0).mean() - simulation.new_item_share) < 0.05
    assert {int(day // 30) for day in days[days > 0]} == {0, 1, 2, 3}
    assert days.max() < simulation.days


def test_a_draw_stays_in_its_slice_and_takes_nothing_unreleased(simulation):
    shelf = catalogue(simulation)
    count, genre = 5_000, 3
    low, high = (np.full(count, edge[genre, 0]) for edge in (shelf.cells.low, shelf.cells.high))
    at = np.full(count, simulation.starts_us + 20 * DAY)
    tries = np.random.default_rng(0).random((count, 4))
    item = shelf.draw(shelf.popularity, low, high, at, np.full(count, genre), tries)
    assert (shelf.released_us[item] <= at).all()
    assert (shelf.genre[shelf.creator[item]] == genre).all()


def test_the_latest_episode_is_the_newest_that_is_out(simulation):
    shelf = catalogue(simulation)
    show = int(shelf.creator[-1])
    own = np.flatnonzero(shelf.creator == show)
    at = np.array([np.sort(shelf.released_us[own])[len(own) // 2] + DAY // 2])
    out = own[shelf.released_us[own] <= at]
    newest = shelf.latest(own[:1], at, np.array([0]))
    assert shelf.released_us[newest] == shelf.released_us[out].max()
    assert_array_equal(shelf.latest(own[:1], at, np.array([999])), own[:1])


def test_equal_configurations_give_equal_catalogues():
    first = catalogue(Simulation(events=10_000, seed=1))
    catalogue.cache_clear()
    again = catalogue(Simulation(events=10_000, seed=1))
    assert_array_equal(first.released_us, again.released_us)
    assert_array_equal(first.popularity, again.popularity)
