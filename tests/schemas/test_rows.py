import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.judge import REASONS, judge, read_table
from jobs.source import Delivery, Source, TableSource
from schemas.contract import contract
from schemas.errors import ContractError
from schemas.rows import EARLIEST, LONGEST, RowJudge, iso_text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILLED = {"ingested_at": NOW}
LISTENS = RowJudge(contract("listens"), FILLED)
TAKEN_IN = {
    "listens": LISTENS,
    "onboarding": RowJudge(contract("onboarding")),
    "taste_edits": RowJudge(contract("taste_edits"), FILLED),
    "users": RowJudge(contract("users")),
}
GOOD = {
    "event_id": "e1",
    "user_id": "ann",
    "item_id": "t1",
    "item_kind": "track",
    "played_at": "2026-03-01T11:57:00.25+01:00",
    "ms_played": 1000,
    "surface": "home",
    "device": None,
}

# Changes to a good row, and what both engines say of it.
FAULTS = {
    "good": ({}, []),
    "no length": ({"ms_played": None}, []),
    "no user": ({"user_id": None}, ["user_id is missing"]),
    "empty user": ({"user_id": ""}, ["user_id is shorter than 1"]),
    "kind": ({"item_kind": "Track"}, ["item_kind is none of track, episode (Track)"]),
    "no kind": ({"item_kind": ""}, ["item_kind is none of track, episode ()"]),
    "no time": ({"played_at": "abc"}, ["played_at is no timestamp (abc)"]),
    "empty time": ({"played_at": ""}, ["played_at is no timestamp ()"]),
    "no such day": (
        {"played_at": "2026-02-30T00:00:00Z"},
        ["played_at is no timestamp (2026-02-30T00:00:00Z)"],
    ),
    "leap second": (
        {"played_at": "2016-12-31T23:59:60Z"},
        ["played_at is no timestamp (2016-12-31T23:59:60Z)"],
    ),
    "missing time": ({"played_at": None}, ["played_at is missing"]),
    "future": ({"played_at": "2999-01-01 00:00:00"}, ["played_at lies in the future"]),
    "past": ({"played_at": "1969-12-31T23:59:59.999999Z"}, ["played_at lies before 1970"]),
    "past by its zone": (
        {"played_at": "1970-01-01T01:59:59+02:00"},
        ["played_at lies before 1970"],
    ),
    "first moment": ({"played_at": "1970-01-01T02:00:00+02:00"}, []),
    "nanoseconds": ({"played_at": "2026-01-01T00:00:00.123456789Z"}, []),
    "short zone": ({"played_at": "2026-01-01T00:00:00+0530"}, []),
    "no seconds": ({"played_at": "2026-01-01T00:00"}, []),
    "negative": ({"ms_played": -1}, ["ms_played is below 0 (-1)"]),
    "endless": ({"ms_played": 86400001}, ["ms_played is above 86400000 (86400001)"]),
    "no number": ({"ms_played": "long"}, ["ms_played is no long (long)"]),
    "too big": ({"ms_played": 10**30}, [f"ms_played is no long ({10**30})"]),
    "real": ({"ms_played": 3.5}, ["ms_played is no long (3.5)"]),
    "whole real": ({"ms_played": 3.0}, ["ms_played is no long (3.0)"]),
    "truth": ({"ms_played": True}, ["ms_played is no long (true)"]),
    "all at once": (
        {"user_id": None, "item_kind": "song", "played_at": "1950-01-01 00:00", "ms_played": "x"},
        [
            "user_id is missing",
            "item_kind is none of track, episode (song)",
            "ms_played is no long (x)",
            "played_at lies before 1970",
        ],
    ),
}

# Changes that Spark takes from a file, and what is said of them in an event.
STRICTER = {
    "number for an id": ({"user_id": 17}, ["user_id is no string (17)"]),
    "truth for text": ({"surface": False}, ["surface is no string (false)"]),
    "list for text": ({"surface": ["home"]}, ["surface is no string (an array)"]),
    "text for a number": ({"ms_played": "3"}, ["ms_played is no long (3)"]),
    "day alone": ({"played_at": "2026-01-01"}, ["played_at is no timestamp (2026-01-01)"]),
    "place for a zone": (
        {"played_at": "2026-01-01 00:00:00 Asia/Tokyo"},
        ["played_at is no timestamp (2026-01-01 00:00:00 Asia/Tokyo)"],
    ),
    "no minutes": ({"played_at": "2026-01-01T10"}, ["played_at is no timestamp (2026-01-01T10)"]),
    "endless text": ({"event_id": "e" * 1025}, ["event_id is longer than 1024"]),
    "NUL": ({"item_id": "t\0"}, ["item_id has a NUL (t\N{REPLACEMENT CHARACTER})"]),
    "unknown": ({"mood": None}, ["mood is not in the contract"]),
    "filled": (
        {"ingested_at": "2026-01-01T00:00:00Z"},
        ["ingested_at is filled by the receiver (2026-01-01T00:00:00Z)"],
    ),
}

# JSON of any shape, and of shapes that are nearly rows.
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
PAST = st.timedeltas(timedelta(), NOW - EARLIEST).map(lambda since: EARLIEST + since)
MOMENTS = st.datetimes() | PAST.map(lambda time: time.replace(tzinfo=None))
TIMES = st.tuples(MOMENTS.map(datetime.isoformat), st.sampled_from(["", "Z", "+02:00"])).map(
    "".join
)
WORDS = st.sampled_from(["track", "item", "creator", "more", "forget"])
VALUES = SCALARS | TIMES | WORDS | st.lists(SCALARS) | st.dictionaries(st.text(), SCALARS)
GOOD_VALUES = {
    "string": st.text("aä\u3042\U0001f3b5", min_size=1, max_size=3),
    "timestamp": TIMES,
    "int": st.integers(1890, 2110),
    "long": st.integers(-1, 90_000_000),
    "boolean": st.booleans(),
}


def judged(row, judge=LISTENS):
    return judge.judge(row, NOW, FILLED)


def near_rows(table):
    """Rows of a table whose values have the right types, and are good more often than not."""
    columns = [column for column in contract(table).columns if column.name != "ingested_at"]
    fields = {column.name: GOOD_VALUES[column.type_name] for column in columns}
    fields |= {c.name: st.sampled_from(c.allowed) for c in columns if c.allowed}
    must = {column.name: fields.pop(column.name) for column in columns if column.required}
    return st.fixed_dictionaries(must, optional={n: f | st.none() for n, f in fields.items()})


def sparks_reasons(spark, folder, rows):
    """Reasons by the row's ``device``, for a file of these rows."""
    lines = [json.dumps({**GOOD, **row, "device": name}) for name, row in rows.items()]
    (folder / "plays.jsonl").write_text("\n".join(lines))
    given = {name: name for name in GOOD} | {"ingested_at": {"now": True}}
    spec = TableSource(files="plays.jsonl", columns=given)
    source = Source(name="web", tables={"listens": spec})
    delivery = Delivery(source, {"plays.jsonl": [str(folder / "plays.jsonl")]}, "i")
    found = judge(read_table(spark, delivery, spec), "listens", spec)
    return {row["device"]: row[REASONS] for row in found.select("device", REASONS).collect()}


def test_a_good_row_is_complete_and_its_times_are_text_of_one_form():
    values, reasons = judged({name: GOOD[name] for name in GOOD if name != "device"})
    assert reasons == []
    assert values == GOOD | {
        "played_at": "2026-03-01T10:57:00.250000Z",
        "device": None,
        "ingested_at": "2026-03-01T12:00:00.000000Z",
    }
    assert list(values) == contract("listens").column_names


@pytest.mark.parametrize("fault", [*FAULTS, *STRICTER])
def test_every_fault_of_a_row_is_a_reason(fault):
    changes, expected = (FAULTS | STRICTER)[fault]
    assert judged(GOOD | changes)[1] == expected


@pytest.mark.spark
def test_spark_gives_the_same_reasons(spark, tmp_path):
    found = sparks_reasons(spark, tmp_path, {name: row for name, (row, _) in FAULTS.items()})
    assert found == {name: reasons for name, (_, reasons) in FAULTS.items()}


@pytest.mark.spark
def test_what_is_said_to_be_stricter_is_taken_from_files(spark, tmp_path):
    found = sparks_reasons(spark, tmp_path, {name: row for name, (row, _) in STRICTER.items()})
    assert found == {name: [] for name in STRICTER}


def test_half_of_a_surrogate_pair_is_no_text_and_does_not_come_back_in_the_reason():
    values, reasons = judged(GOOD | {"surface": "\ud800"})
    assert values["surface"] is None
    assert reasons == ["surface has half of a surrogate pair (\N{REPLACEMENT CHARACTER})"]


def test_text_of_the_greatest_length_is_good():
    assert judged(GOOD | {"event_id": "ä" * LONGEST})[1] == []


def test_reasons_quote_no_more_than_the_beginning():
    endless = "x" * 100_000
    _, reasons = judged(GOOD | {"item_kind": endless, endless: 1})
    assert reasons == [
        "item_kind is longer than 1024",
        f"item_kind is none of track, episode ({'x' * 63}…)",
        f"{'x' * 63}… is not in the contract",
    ]


def test_a_time_that_no_rule_speaks_of_lies_in_years_that_everybody_can_hold():
    users = TAKEN_IN["users"]
    for time in ("1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z"):
        _, reasons = judged({"user_id": "ann", "registered_at": time}, users)
        written = time.replace("Z", ".000000Z")
        assert reasons == [f"registered_at lies outside of 1970 to 2261 ({written})"]
    _, reasons = judged({"user_id": "ann", "registered_at": "0001-01-01T00:00:00+01:00"}, users)
    assert reasons == ["registered_at is no timestamp (0001-01-01T00:00:00+01:00)"]


def test_a_whole_number_fits_its_column():
    users = TAKEN_IN["users"]
    assert judged({"user_id": "ann", "birth_year": 2**31}, users)[1] == [
        "birth_year is no int (2147483648)"
    ]
    assert judged(GOOD | {"ms_played": 2**63}, LISTENS)[1] == [f"ms_played is no long ({2**63})"]


def test_an_edit_names_something():
    edit = {"edit_id": "1", "user_id": "ann", "kind": "more", "edited_at": "2026-03-01T12:00:00"}
    edits = TAKEN_IN["taste_edits"]
    assert judged(edit, edits)[1] == ["none of item_id, creator_id and genre is given"]
    assert judged(edit | {"genre": "folk"}, edits)[1] == []


@pytest.mark.parametrize(
    ("row", "said"),
    [(None, "null"), ([GOOD], "an array"), ("row", "row"), (1.5, "1.5"), (True, "true")],
)
def test_what_is_no_object_is_one_reason(row, said):
    assert judged(row) == ({}, [f"the row is no object ({said})"])


@pytest.mark.parametrize("table", TAKEN_IN)
def test_no_json_at_all_is_an_error(table):
    @given(VALUES | st.dictionaries(st.sampled_from(contract(table).column_names), VALUES))
    def holds(row):
        _, reasons = judged(row, TAKEN_IN[table])
        assert all(reason.encode() for reason in reasons)

    holds()


@pytest.mark.parametrize("table", TAKEN_IN)
def test_good_rows_are_rows_of_the_contract(table):
    agreed, good = contract(table), []

    @given(near_rows(table))
    def holds(row):
        values, reasons = judged(row, TAKEN_IN[table])
        if reasons:
            return
        for column in agreed.columns:
            assert values[column.name] is not None or not column.required
            if column.type_name == "timestamp" and values[column.name] is not None:
                values[column.name] = datetime.fromisoformat(values[column.name])
        assert pa.Table.from_pylist([values], schema=agreed.arrow_schema).to_pylist() == [values]
        good.append(values)

    holds()
    assert len(good) > 10


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_texts_of_times_sort_as_the_times_do(one, other):
    assert (iso_text(one) < iso_text(other)) == (one < other)
    assert datetime.fromisoformat(iso_text(one)) == one


def test_what_only_spark_can_judge_is_found_before_the_first_row():
    with pytest.raises(ContractError, match=r"genres is array<string>, of which"):
        RowJudge(contract("items"))


def test_a_clock_that_goes_ahead_by_five_minutes_is_forgiven():
    ahead = NOW + timedelta(minutes=5)
    assert judged(GOOD | {"played_at": iso_text(ahead)})[1] == []
    late = iso_text(ahead + timedelta(microseconds=1))
    assert judged(GOOD | {"played_at": late})[1] == ["played_at lies in the future"]
