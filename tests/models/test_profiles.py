import numpy as np
import pyarrow as pa

from models.events import DAY
from models.layout import build_layout
from models.profiles import SCHEMA, Told

LAYOUT = build_layout({"country": ["DE", "SE"]})
USERS = pa.array(["ann", "bob", "cy"])
ROWS = [
    {"user_id": "cy", "registered_at": 10 * DAY, "country": "SE", "birth_year": 1950},
    {
        "user_id": "ann",
        "picked_at": [5 * DAY, 20 * DAY],
        "picked_item": [3, -1],
        "picked_creator": [-1, 7],
    },
]


def told(rows: list[dict]) -> Told:
    table = pa.Table.from_pylist(rows, schema=pa.schema([("user_id", pa.string()), *SCHEMA]))
    ids = table["user_id"].combine_chunks().dictionary_encode()  # as blocks bring it
    return Told.of_rows(table.set_column(0, "user_id", ids), USERS, LAYOUT)


def test_a_profile_goes_to_its_user_and_says_nothing_of_moments_before_it_was_made():
    found = told(ROWS).at(np.array([2, 2, 1]), np.array([9, 30, 30]) * DAY)
    assert found.country.tolist() == [-1, 1, -1]
    assert np.isnan(found.age).tolist() == [True, False, True]
    assert found.account_age[1] == 20


def test_only_picks_before_the_moment_count():
    found = told(ROWS).at(np.array([1, 0, 0]), np.array([99, 20, 21]) * DAY)
    assert found.pick_query.tolist() == [1, 2, 2]
    assert found.pick_item.tolist() == [3, 3, -1]
    assert found.pick_creator.tolist() == [-1, -1, 7]


def test_of_users_who_have_told_nothing_nothing_is_known():
    found = Told.of_rows(None, USERS, LAYOUT).at(np.arange(3), np.full(3, DAY))
    assert set(found.country.tolist()) == {-1}
    assert np.isnan(found.account_age).all()
    assert len(found.pick_query) == 0
