from datetime import timedelta

import numpy as np
import pytest

from evaluation.catalogue import read_catalogue
from evaluation.newcomers import read_newcomers
from evaluation.picks import stand_ins
from tests.conftest import GENRES, MOMENT

HOUR = timedelta(hours=1)
ITEMS = [
    {"item_id": f"t{n}", "kind": "track", "creator_id": f"c{n % 10}"} for n in range(10 * GENRES)
]


def play(user: str, number: int, item: int) -> dict:
    at = MOMENT + number * HOUR
    event = {"event_id": f"{user}-{number}", "user_id": user, "item_kind": "track"}
    return event | {"item_id": f"t{item}", "played_at": at, "ingested_at": at}


def pick(user: str, picked: str, at=MOMENT - HOUR, *, completed: bool | None = True) -> dict:
    kind = "creator" if picked.startswith("c") else "item"
    told = {"user_id": user, "picked_id": picked, "picked_kind": kind, "picked_at": at}
    return told | {"completed": completed}


@pytest.fixture
def read(lake, two_spaces):
    """Reads newcomers with what they play and pick; the catalogue beside them."""

    def made(plays: list[dict], picks: list[dict] | None = None):
        also = {"items": ITEMS, "listens": plays}
        if picks is not None:
            also["onboarding"] = picks
        batch = two_spaces(users=20, also=also)[1]
        catalogue = read_catalogue(lake, batch)
        return read_newcomers(lake, batch, catalogue, 100, seed=0), catalogue

    return made


def test_picks_count_if_they_were_made_before_the_first_play_of_what_has_a_vector(read):
    people, catalogue = read(
        [play("a", 0, 1), play("b", 0, 1)],
        [pick("a", "c3"), pick("a", "t7"), pick("a", "c9", MOMENT), pick("a", "c-unknown")],
    )
    assert people.picks.user.tolist() == [0, 0]
    assert set(people.picks.item) == {-1, catalogue.items.get_loc("t7")}
    assert set(people.picks.creator) == {-1, catalogue.creators.get_loc("c3")}
    assert people.picks.completed.tolist() == [True, False]


def test_who_gave_up_has_picks_and_has_not_completed(read):
    people, _ = read(
        [play(user, 0, 1) for user in "abc"],
        [pick("a", "c3", completed=False), pick("b", "c3", completed=None), pick("c", "c3")],
    )
    assert people.picks.user.tolist() == [0, 1, 2]
    assert people.picks.completed.tolist() == [False, True, True]


def test_the_three_creators_who_are_played_most_later_stand_in(read):
    order = [9, 9, 9, 9, 1, 11, 2, 12, 22, 3, 4]  # creators c9 four times, c1, c2, c3, c4
    people, catalogue = read([play("a", n, item) for n, item in enumerate(order)])
    found = stand_ins(people, catalogue, np.array([4]))
    assert [catalogue.creators[row] for row in found.creator] == ["c2", "c1", "c3"]
    assert (found.item == -1).all()
    assert (found.at < people.first[0]).all()


def test_who_plays_nothing_later_has_no_stand_ins(read):
    people, catalogue = read([play("a", 0, 1), play("b", 0, 2), play("b", 1, 2)])
    found = stand_ins(people, catalogue, np.array([1, 2]))
    assert found.user.tolist() == [1]
    assert found.completed.tolist() == [False, True]
    assert [len(own) for own in found.columns()["picked_at"].to_pylist()] == [0, 1]


def test_plays_that_are_asked_about_have_no_say_in_what_stands_in(read):
    """Whatever is played before, the picks are the same: they tell taste and no answer."""
    later = [play("a", 5 + n, item) for n, item in enumerate((3, 13, 7))]
    people, catalogue = read([*(play("a", n, 1) for n in range(5)), *later])
    found = stand_ins(people, catalogue, np.array([5])).creator.tolist()
    people.item[:5] = catalogue.items.get_loc("t44")
    assert stand_ins(people, catalogue, np.array([5])).creator.tolist() == found
