import numpy as np
import pytest

from evaluation.catalogue import plays_by_country, read_catalogue
from tests.conftest import MOMENT


@pytest.fixture
def live(first_days):
    return first_days(newcomers=8, told=True)


def test_plays_count_if_they_lie_before_the_moment_whoever_played(lake, live):
    found = read_catalogue(lake, live)
    before = [
        play["item_id"]
        for play in lake.read("listens", live).to_pylist()
        if play["played_at"] < MOMENT
    ]
    assert found.plays.sum() == len(before) == 240 * 5
    assert found.plays[found.items.get_loc("t7")] == before.count("t7")


def test_items_know_their_creators(lake, live):
    found = read_catalogue(lake, live)
    assert found.vectors.shape == (50, 80)
    for number in (0, 13, 49):
        owner = found.creator_of_item[found.items.get_loc(f"t{number}")]
        assert found.creators[owner] == f"c{number % 10}"


def test_an_item_whose_creator_nobody_knows_has_none(lake, two_spaces):
    found = read_catalogue(lake, two_spaces(users=20)[1])
    assert set(found.creator_of_item) == {-1}
    assert len(found.creators) == 0


def test_a_country_counts_the_plays_of_its_own_users(lake, live):
    """The fixture's listeners live where their genre is played, user n in country n % 5."""
    catalogue = read_catalogue(lake, live)
    found = plays_by_country(lake, live, catalogue, np.array(["C1", "C1", "C3", None, "ZZ"]))
    assert found.plays.shape == (50, 4)
    assert found.plays[:, 0].tolist() == catalogue.plays.tolist()
    assert found.group[0] == found.group[1] == 1
    assert found.group[3] == 0
    genre = np.array([int(item[1:]) % 5 for item in catalogue.items])
    own = np.where(genre == 1, catalogue.plays, 0)
    assert found.plays[:, 1].tolist() == own.tolist()
    assert found.plays[:, found.group[4]].sum() == 0


def test_without_countries_there_is_nothing_to_compare(lake, live):
    catalogue = read_catalogue(lake, live)
    assert plays_by_country(lake, live, catalogue, np.array([None, None])) is None
