import pytest

from simulate.genres import GENRES
from simulate.places import CHRONOTYPES, COUNTRIES, LANGUAGES, SURFACES


def test_countries_and_habits_name_genres_and_languages_that_exist():
    names = {genre.name for genre in GENRES}
    for place in COUNTRIES:
        assert place.language in LANGUAGES
        assert names.issuperset(place.local_genres)
    for habit in CHRONOTYPES:
        assert names.issuperset(habit.genres)


@pytest.mark.parametrize("shares", [[c.share for c in COUNTRIES], [c.share for c in CHRONOTYPES]])
def test_shares_of_listeners_are_the_whole(shares):
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_play_is_of_one_circle_around_the_session(surface):
    assert sum(surface.reach) == pytest.approx(1)
