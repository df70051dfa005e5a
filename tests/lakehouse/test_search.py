import json

import pytest

from lakehouse.search import Search


@pytest.fixture
def search(lake, rows_of):
    """Looks for ann and bob in a table that is given rows."""

    def made(table, *rows):
        for row in rows:
            lake.append(table, rows_of(table, row))
        return Search(lake, table, ["ann", "bob"])

    return made


def test_rows_are_counted_by_user(search):
    found = search("users", {"user_id": "ann"}, {"user_id": "annabel"})
    counts = [found.rows_in(name) for name in found.files.of()]
    assert sum(map(len, counts)) == 1
    assert {"ann": 1} in counts


def test_only_files_that_hold_somebody_are_replaced(search):
    found = search("users", {"user_id": "ann"}, {"user_id": "carol"})
    left = found.without(found.files.of())
    assert len(left) == 1
    assert set(left) < set(found.files.of())


@pytest.mark.parametrize(
    "row",
    [
        {"row": json.dumps({"deep": [{"user": "bob"}]})},
        {"row": "{}", "event_id": "bob/creator/7"},
        {"row": "{}", "user_id": "bob"},
    ],
)
def test_a_refused_row_is_whose_it_names_anywhere(search, row):
    found = search("quarantine", row, {"row": json.dumps({"bob": "bobby"})})
    assert sum(found.rows_in(name)["bob"] for name in found.files.of()) == 1
