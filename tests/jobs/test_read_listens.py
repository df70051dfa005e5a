from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from jobs import read_listens
from schemas.contract import contract

pytestmark = pytest.mark.spark


@pytest.fixture
def read(new_shop, shared_session, tmp_path):
    """Runs the job on rows of a CSV file; returns what it wrote, by event_id."""
    shared_session("read_listens")
    shop = new_shop(tmp_path)
    shop.put("items.csv", [{"sku": "t1", "title": "Blue"}])

    def run(*rows: dict) -> dict[str, dict]:
        shop.put("plays.csv", list(rows))
        out = str(tmp_path / "out")
        where = ["--source", str(shop.source), "--data", str(shop.data)]
        read_listens.main([*where, "--out", out])
        return {row["event_id"]: row for row in pq.read_table(out).to_pylist()}

    return run


def test_a_good_row_has_the_columns_of_the_contract_and_no_reason(read, good_play):
    row = read(good_play(1))["e1"]
    assert list(row) == [*contract("listens").column_names, "reasons"]
    assert (row["user_id"], row["item_id"], row["ms_played"]) == ("u1", "t1", 1000)
    assert row["played_at"] == datetime.fromtimestamp(1_700_000_001, UTC)
    assert row["reasons"] == []


def test_a_bad_row_is_there_with_every_reason(read, good_play):
    rows = read(good_play(1), good_play(2, ms=-1, user=""))
    assert rows["e1"]["reasons"] == []
    assert rows["e2"]["reasons"] == ["user_id is missing", "ms_played is below 0 (-1)"]


def test_an_item_that_nobody_knows_is_left_to_the_receiver(read, good_play):
    assert read(good_play(1, sku="unheard-of"))["e1"]["reasons"] == []


def test_a_second_run_replaces_what_the_first_wrote(read, good_play):
    read(good_play(1))
    assert list(read(good_play(9))) == ["e9"]
