import numpy as np
import pyarrow as pa
import pytest

from evaluation.cohort import read_cohort
from schemas.contract import contract
from schemas.errors import InputError
from tests.conftest import MOMENT


@pytest.fixture
def live(two_spaces):
    return two_spaces(users=20)[1]


def test_what_was_played_before_and_after_is_told_apart(lake, live):
    """Each listener of the fixture plays five tracks before the moment and three from it on."""
    cohort = read_cohort(lake, live, 7, most=100, seed=0)
    assert cohort.past.users == 20
    assert np.bincount(cohort.past.user).tolist() == [5] * 20
    assert [len(own) for own in cohort.future] == [3] * 20
    assert (np.diff(cohort.past.at[:5]) > 0).all()
    whose = {
        user: set(cohort.item_ids[cohort.future[row]]) for row, user in enumerate(cohort.user_ids)
    }
    plays = lake.read("listens", live).to_pylist()
    for user, tracks in whose.items():
        assert tracks == {
            play["item_id"]
            for play in plays
            if play["user_id"] == user and play["played_at"] >= MOMENT
        }


def test_genres_and_creators_are_tags(lake, live):
    cohort = read_cohort(lake, live, 7, most=100, seed=0)
    assert cohort.past.item_tags.shape == (50, 5)
    assert (cohort.past.item_tags.sum(axis=1) == 1).all()
    assert cohort.past.user_tags.shape == (20, 0)


def test_who_plays_later_comes_first_into_a_small_cohort(lake, live):
    late = {
        "event_id": "x", "user_id": "u3", "item_id": "t1", "item_kind": "track",
        "played_at": MOMENT, "ingested_at": MOMENT,
    }  # fmt: skip
    lake.append("listens", pa.Table.from_pylist([late], schema=contract("listens").arrow_schema))
    few = read_cohort(lake, live, 7, most=12, seed=1)
    assert few.past.users == 12
    assert all(len(own) for own in few.future)


def test_without_a_future_there_is_nothing_to_ask(lake, live):
    with pytest.raises(InputError, match="holdout-days"):
        read_cohort(lake, live.model_copy(update={"as_of": MOMENT.replace(year=2030)}), 7, 100, 0)


def test_negatives_are_drawn_from_what_had_been_played_or_is_played_next(lake, live):
    cohort = read_cohort(lake, live, 7, most=100, seed=0)
    plays = cohort.plays
    asked, popular = cohort.question("popularity")
    _, uniform = cohort.question("uniform")
    _, upcoming = cohort.question("upcoming")
    assert popular.weight.tolist() == plays.tolist()
    assert uniform.weight.tolist() == (plays > 0).astype(float).tolist()
    assert upcoming.weight.sum() == sum(len(own) for own in cohort.future)
    assert all((plays[own] > 0).all() for own in popular.positives)
    for row, excluded in zip(asked.tolist(), popular.excluded, strict=True):
        past = cohort.past.item[cohort.past.user == row]
        assert set(excluded) == {*past.tolist(), *cohort.future[row].tolist()}
