from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from evaluation.clusters import (
    COUNTRY,
    CREATOR,
    CREATOR_AFTER,
    GENRE,
    KINDS,
    ONBOARDING,
    Clusters,
    favourite,
    read_clusters,
)
from evaluation.cohort import read_cohort
from schemas.contract import contract
from tests.conftest import MOMENT

USERS = 20


def clusters(*members: list[int]) -> Clusters:
    return Clusters(CREATOR, sparse.csr_array(np.array(members, np.float32)))


def names_of(found: Clusters) -> list[set[int]]:
    """The users of each cluster."""
    columns = found.members.toarray().T
    return sorted((set(np.flatnonzero(column).tolist()) for column in columns), key=min)


@pytest.fixture
def add(lake):
    """Appends rows to a table, and gives the version."""

    def append(table: str, rows: list[dict]) -> int:
        lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
        return lake.open(table).version()

    return append


@pytest.fixture
def told(lake, two_spaces, add):
    """A live batch that pins who comes from where and who picked what; and its clusters."""

    def read(users: list[dict] = (), picks: list[dict] = ()) -> dict[str, Clusters]:
        live = two_spaces(users=USERS)[1]
        tables = {"users": list(users), "onboarding": list(picks)}
        pins = {table: add(table, rows) for table, rows in tables.items() if rows}
        live = live.model_copy(update={"parents": live.parents | pins})
        cohort = read_cohort(lake, live, 7, most=100, seed=0)
        found = read_clusters(lake, live, cohort, 7)
        places = {user: row for row, user in enumerate(cohort.user_ids)}
        return {one.kind: one for one in found} | {"places": places}

    return read


def test_users_share_with_all_of_each_of_their_groups_and_not_with_themselves():
    some = clusters([1, 0], [1, 1], [0, 1], [0, 0])
    assert some.shared(np.array([1, 3])).tolist() == [
        [True, False, True, False],
        [False, False, False, False],
    ]
    assert some.asked().tolist() == [0, 1, 2]


def test_who_is_alone_is_not_asked():
    assert clusters([1, 0], [0, 1]).asked().tolist() == []


def test_the_favourite_is_what_was_played_most_and_equals_go_by_name():
    plays = pd.DataFrame(
        [(0, "b", 2), (0, "a", 1), (0, "b", 1), (1, "c", 1), (1, "b", 1), (2, None, 9)],
        columns=["user", "creator_id", "plays"],
    )
    assert favourite(plays, "creator_id").sort_index().to_dict() == {0: "b", 1: "b"}


def test_data_that_tells_nothing_but_genres_has_clusters_of_genres_alone(told):
    """Each listener of the fixture plays tracks of one of five genres."""
    found = told()
    places = found.pop("places")
    assert list(found) == [GENRE]
    expected = [{places[f"u{user}"] for user in range(genre, USERS, 5)} for genre in range(5)]
    assert names_of(found[GENRE]) == sorted(expected, key=min)


def test_a_country_is_the_users_own_and_who_told_none_is_not_asked(told):
    found = told([{"user_id": "u1", "country": "SE"}, {"user_id": "u2", "country": "SE"},
                  {"user_id": "u3"}, {"user_id": "stranger", "country": "SE"}])  # fmt: skip
    places = found["places"]
    assert found[COUNTRY].asked().tolist() == sorted([places["u1"], places["u2"]])


def test_one_shared_pick_before_the_moment_is_enough(told):
    def pick(user, what, kind="creator", at=MOMENT - timedelta(days=1)):
        return {"user_id": user, "picked_id": what, "picked_kind": kind, "picked_at": at}

    found = told(picks=[
        pick("u1", "x"), pick("u1", "y"), pick("u2", "y"),
        pick("u3", "x", kind="item"),  # an item that is called as a creator is
        pick("u4", "x", at=MOMENT),  # too late
    ])  # fmt: skip
    places = found["places"]
    assert found[ONBOARDING].asked().tolist() == sorted([places["u1"], places["u2"]])


def test_favourites_before_and_after_the_moment_are_two_questions(lake, two_spaces, add):
    """Everybody had played one creator; afterwards two users turn to something brand new."""
    live = two_spaces(users=USERS)[1]
    items = [{"item_id": name, "kind": "track", "creator_id": f"c-{name}"} for name in "xyz"]
    at = {"before": MOMENT - timedelta(hours=1), "after": MOMENT + timedelta(hours=1)}
    plays = [("u1", "x", "before"), ("u2", "x", "before"), ("u3", "y", "before"),
             ("u1", "y", "after"), ("u2", "z", "after"), ("u3", "z", "after")]  # fmt: skip
    rows = [
        {
            "event_id": f"e{number}", "user_id": user, "item_id": item, "item_kind": "track",
            "played_at": at[when], "ingested_at": at[when],
        }
        for number, (user, item, when) in enumerate(plays)
    ]  # fmt: skip
    pins = {"items": add("items", items), "listens": add("listens", rows)}
    live = live.model_copy(update={"parents": live.parents | pins})
    cohort = read_cohort(lake, live, 7, most=100, seed=0)
    found = {one.kind: one for one in read_clusters(lake, live, cohort, 7)}
    users = cohort.user_ids
    assert set(users[found[CREATOR].asked()]) == {"u1", "u2"}
    assert set(users[found[CREATOR_AFTER].asked()]) == {"u2", "u3"}
    assert set(found) <= set(KINDS)


def test_without_a_future_the_other_clusters_remain(lake, two_spaces):
    live = two_spaces(users=USERS)[1].model_copy(update={"as_of": MOMENT.replace(year=2030)})
    cohort = read_cohort(lake, live, 7, most=100, seed=0, must_play=False)
    assert [one.kind for one in read_clusters(lake, live, cohort, 7)] == [GENRE]
