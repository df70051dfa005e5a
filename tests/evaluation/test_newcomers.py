from datetime import timedelta

import numpy as np
import pytest

from evaluation.catalogue import read_catalogue
from evaluation.newcomers import read_newcomers
from schemas.errors import InputError
from tests.conftest import MOMENT

SECOND = timedelta(seconds=1)


def play(user: str, number: int, at, **more) -> dict:
    event = {"event_id": f"{user}-{number}", "user_id": user, "item_kind": "track"}
    return event | {"item_id": "t1", "played_at": at, "ingested_at": at} | more


@pytest.fixture
def read(lake, two_spaces):
    """Reads the newcomers among the listeners of ``two_spaces`` and some more plays."""

    def made(*plays: dict, most: int = 100, **tables: list[dict]):
        also = {"listens": list(plays), **tables}
        batch = two_spaces(users=20, also=also)[1]
        return read_newcomers(lake, batch, read_catalogue(lake, batch), most, seed=0)

    return made


def test_a_newcomer_begins_at_or_after_the_moment(read):
    found = read(
        play("now", 0, MOMENT),
        play("later", 0, MOMENT + timedelta(days=3)),
        play("earlier", 0, MOMENT - SECOND),
        play("earlier", 1, MOMENT + SECOND),
        play("told late", 0, MOMENT - SECOND, ingested_at=MOMENT + SECOND),
        play("told late", 1, MOMENT + SECOND),
    )
    assert found.user_ids.tolist() == ["later", "now"]


def test_plays_are_in_order_of_time_then_of_their_ids(read):
    found = read(
        play("b", 2, MOMENT + SECOND, item_id="t2", ms_played=3_000, surface="home"),
        play("b", 1, MOMENT + SECOND, item_id="t9"),
        play("b", 3, MOMENT, item_id="t0"),
        play("a", 0, MOMENT + SECOND, item_id="t5"),
    )
    assert found.user.tolist() == [0, 1, 1, 1]
    assert found.item.tolist() == [5, 0, 9, 2]  # tracks are published in order
    assert found.bounds.tolist() == [0, 1, 4]
    assert (found.first - round(MOMENT.timestamp() * 1e6)).tolist() == [1_000_000, 0]
    assert found.weight.tolist() == [1, 1, 1, 0.1]
    assert found.habits["surface"].to_pylist() == [None, None, None, "home"]


def test_a_play_of_an_item_without_a_vector_is_a_play(read):
    items = [{"item_id": f"t{number}", "kind": "track"} for number in range(60)]
    found = read(play("a", 0, MOMENT, item_id="t55"), items=items)
    assert found.item.tolist() == [-1]


def test_who_told_nothing_has_an_empty_profile(read):
    told = {"user_id": "b", "registered_at": MOMENT, "country": "SE", "birth_year": 1990}
    found = read(play("a", 0, MOMENT), play("b", 0, MOMENT), users=[told])
    assert found.profiles["country"].to_pylist() == [None, "SE"]
    assert found.profiles["birth_year"].to_pylist() == [None, 1990]
    assert found.profiles["registered_at"].to_pylist() == [None, round(MOMENT.timestamp() * 1e6)]


def test_without_a_users_table_nobody_told_anything(read):
    found = read(play("a", 0, MOMENT))
    assert found.profiles["country"].to_pylist() == [None]
    assert not found.picks.completed.any()


def test_no_more_newcomers_are_read_than_wanted(read):
    plays = [play(f"n{number}", 0, MOMENT) for number in range(9)]
    found = read(*plays, most=4)
    assert len(found.user_ids) == 4
    assert np.bincount(found.user).tolist() == [1] * 4


def test_without_newcomers_it_says_what_to_do(read):
    with pytest.raises(InputError, match="--holdout-days"):
        read()
