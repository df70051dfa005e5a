from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lakehouse.quarantine import Choice, Fault, faults, find_row, open_rows, replay_summary
from schemas.contract import contract
from schemas.errors import InputError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FUTURE, UNKNOWN = "played_at lies in the future", "item_id is not in items"


def refused(row_id, *reasons, ingest="ingest-shop-1", table="listens", replayed=None):
    return {
        "ingest_id": ingest,
        "table": table,
        "event_id": f"event of {row_id}",
        "row": "{}",
        "reasons": list(reasons),
        "file": "plays.csv",
        "quarantined_at": NOON,
        "row_id": row_id,
        "replayed_at": replayed,
    }


ROWS = [
    refused("aa11", FUTURE, f"{UNKNOWN} (t9 (live))"),
    refused("aa22", f"{UNKNOWN} (t8)", replayed=NOON),
    refused("bb33", f"{UNKNOWN} (t7)"),
    refused("bb33", f"{UNKNOWN} (t7)"),  # twice the same row
    refused("cc44", "kind is missing", ingest="ingest-shop_b-2", table="items", replayed=NOON),
    refused("dd55", FUTURE, ingest="ingest-shop_b-2"),
    refused(None, FUTURE, ingest="ingest-shop-0"),  # older than ids
]


@pytest.fixture
def kept(lake):
    """A lakehouse with those refused rows, written by two commits."""
    for rows in (ROWS[:3], ROWS[3:]):
        schema = contract("quarantine").arrow_schema
        lake.append("quarantine", pa.Table.from_pylist(rows, schema=schema))
    return lake


def ids(lake, **choice):
    return sorted(open_rows(lake, Choice(**choice))["row_id"].to_pylist())


def test_rows_are_counted_by_ingest_table_and_kind_with_an_open_one_as_example(kept):
    assert faults(kept, Choice()) == [
        Fault("ingest-shop-0", "listens", FUTURE, rows=1, replayed=0, example=None),
        Fault("ingest-shop-1", "listens", UNKNOWN, rows=4, replayed=1, example="bb33"),
        Fault("ingest-shop-1", "listens", FUTURE, rows=1, replayed=0, example="aa11"),
        Fault("ingest-shop_b-2", "items", "kind is missing", rows=1, replayed=1, example="cc44"),
        Fault("ingest-shop_b-2", "listens", FUTURE, rows=1, replayed=0, example="dd55"),
    ]


def test_only_what_was_asked_for_is_counted(kept):
    found = faults(kept, Choice(table="listens", ingest="ingest-shop_b-2"))
    assert [fault.example for fault in found] == ["dd55"]
    assert faults(kept, Choice(table="users")) == []


def test_open_rows_are_those_with_an_id_that_nobody_has_taken_in_each_once(kept):
    assert ids(kept) == ["aa11", "bb33", "dd55"]
    assert ids(kept, table="items") == []
    assert open_rows(kept, Choice(table="users")).to_pylist() == []


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"source": "shop"}, ["aa11", "bb33"]),
        ({"source": "shop", "ingest": "ingest-shop_b-2"}, ["dd55"]),
        ({"reason": "in the future"}, ["aa11", "dd55"]),
        ({"reason": "(t7)"}, ["bb33"]),
        ({"reason": "nobody says this"}, []),
    ],
)
def test_open_rows_are_chosen_by_source_ingest_or_reason(kept, choice, expected):
    assert ids(kept, **choice) == expected


def test_a_row_is_found_by_the_beginning_of_its_id(kept):
    assert find_row(kept, "aa1")["event_id"] == "event of aa11"
    assert find_row(kept, "b")["row_id"] == "bb33"


def test_a_beginning_that_fits_no_row_or_several_is_an_error(kept):
    with pytest.raises(InputError, match=r"no refused row 'zz'.*`tasteprint quarantine list`"):
        find_row(kept, "zz")
    with pytest.raises(InputError, match=r"2 refused rows begin with 'aa': .*aa11, aa22"):
        find_row(kept, "aa")


def test_rows_of_a_lakehouse_that_is_older_than_their_ids_can_be_listed(lake):
    schema = contract("quarantine").arrow_schema
    old = pa.schema([field for field in schema if field.name not in ("row_id", "replayed_at")])
    write_deltalake(lake.table_uri("quarantine"), pa.Table.from_pylist(ROWS[:1], schema=old))
    assert [fault.example for fault in faults(lake, Choice())] == [None, None]
    assert ids(lake) == []


def test_a_lakehouse_that_refused_nothing_says_so(lake):
    with pytest.raises(InputError, match="has no table quarantine"):
        faults(lake, Choice())


def test_a_summary_says_what_landed_what_was_there_and_what_is_still_bad():
    counts = {"listens": {"landed": 1200, "known": 3, "bad": 2}}
    assert list(replay_summary(counts, {"listens": {UNKNOWN: 2}})) == [
        "listens: 1,200 landed, 3 were there already, 2 are still bad",
        "  2 rows: item_id is not in items",
    ]
