import pytest

from evaluation.cohort import read_cohort
from evaluation.names import favourites, item_names, listed


@pytest.fixture
def cohort(lake, two_spaces):
    return read_cohort(lake, two_spaces(users=20)[1], 7, most=100, seed=0)


def test_items_are_told_by_title_and_creator(lake, named_items):
    batch = named_items(lake)
    names = item_names(lake, batch, ["a", "c", "silent"])
    assert names.tolist() == ["Blue, Mira", "Talk", "Silence, Olu"]


def test_what_has_no_title_is_told_by_its_id(lake, cohort):
    assert item_names(lake, lake.batches.get("live"), cohort.item_ids)[0] == cohort.item_ids[0]


def test_listeners_are_told_by_what_they_play(cohort):
    own = set(cohort.item_ids[cohort.past.item[cohort.past.user == 2]])
    assert set(favourites(cohort, cohort.item_ids, 2).split("; ")) < own
    assert listed(cohort.item_ids, [0, 1]) == "; ".join(cohort.item_ids[:2])
