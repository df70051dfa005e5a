import hashlib
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from jobs.judge import (
    FILE,
    RAW,
    REASONS,
    judge,
    raw_json,
    read_table,
    with_repeats,
    with_unknown_items,
)
from jobs.source import Delivery, Source, TableSource

pytestmark = pytest.mark.spark

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = "id string, user string, sku string, kind string, at string, ms string"
GOOD = {
    "id": "e1",
    "user": "ann",
    "sku": "t1",
    "kind": "track",
    "at": "2020-03-01 12:00:00",
    "ms": "1000",
}
LISTENS = TableSource(
    files="plays.csv",
    columns={
        "event_id": "id",
        "user_id": "user",
        "item_id": "sku",
        "item_kind": "kind",
        "played_at": "at",
        "ms_played": "ms",
        "ingested_at": {"now": True},
    },
)


def raw(spark, rows, schema=TEXT, file="plays.csv"):
    frame = spark.createDataFrame(rows, schema)
    return frame.select(F.struct(*frame.columns).alias(RAW), F.lit(file).alias(FILE))


def reasons(judged):
    """Reasons of each row, by its id."""
    return {row[0]: row[1] for row in judged.select("event_id", REASONS).collect()}


def mapped(spark, rows, schema, table="items", **columns):
    """The rows as the contract has them, with only the columns that were asked for."""
    key = {"item_id": "id", "kind": {"constant": "track"}} if table == "items" else {}
    spec = TableSource(files="x.csv", columns=key | columns)
    judged = judge(raw(spark, rows, schema), table, spec)
    return [row.asDict() for row in judged.select(*columns, REASONS).collect()]


def read(spark, folder, files, table="listens", **spec):
    spec = TableSource(files=files, **spec)
    source = Source(name="shop", tables={table: spec})
    patterns = [files, *(join.files for join in spec.join)]
    return read_table(
        spark, Delivery(source, {name: [str(folder / name)] for name in patterns}, "i"), spec
    )


def test_a_good_row_has_no_reason_and_our_types(spark):
    row = judge(raw(spark, [GOOD]), "listens", LISTENS).first()
    assert row[REASONS] == []
    assert (row["event_id"], row["user_id"], row["ms_played"]) == ("e1", "ann", 1000)
    assert row["surface"] is None
    assert row[RAW].asDict() == GOOD
    assert abs(row["ingested_at"] - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=5)


FAULTS = {
    "future": ({"at": "2999-01-01 00:00:00"}, ["played_at lies in the future"]),
    "past": ({"at": "1969-12-31 23:59:59"}, ["played_at lies before 1970"]),
    "no time": ({"at": "yesterday"}, ["played_at is no timestamp (yesterday)"]),
    "missing time": ({"at": None}, ["played_at is missing"]),
    "negative": ({"ms": "-5"}, ["ms_played is below 0 (-5)"]),
    "endless": ({"ms": "86400001"}, ["ms_played is above 86400000 (86400001)"]),
    "no number": ({"ms": "long"}, ["ms_played is no long (long)"]),
    "too big": ({"ms": "9" * 30}, [f"ms_played is no long ({'9' * 30})"]),
    "no user": ({"user": None}, ["user_id is missing"]),
    "empty user": ({"user": ""}, ["user_id is shorter than 1"]),
    "kind": ({"kind": "Track"}, ["item_kind is none of track, episode (Track)"]),
    "unsaid length": ({"ms": None}, []),
    "all at once": (
        {"user": None, "kind": "song", "at": "1950-01-01 00:00:00", "ms": "x"},
        [
            "user_id is missing",
            "item_kind is none of track, episode (song)",
            "ms_played is no long (x)",
            "played_at lies before 1970",
        ],
    ),
}


def test_every_fault_of_a_row_is_a_reason(spark):
    rows = [GOOD | changes | {"id": name} for name, (changes, _) in FAULTS.items()]
    found = reasons(judge(raw(spark, rows), "listens", LISTENS))
    assert found == {name: expected for name, (_, expected) in FAULTS.items()}


def test_the_second_row_of_an_event_is_refused_whichever_file_it_is_in(spark):
    first = raw(spark, [GOOD, GOOD | {"id": "e2"}], file="a.csv")
    later = raw(
        spark, [GOOD | {"user": "bob"}, GOOD | {"id": None}, GOOD | {"id": None}], file="b.csv"
    )
    judged = with_repeats(judge(later.union(first), "listens", LISTENS), "listens")
    again = judged.where(F.size(REASONS) > 0).select("event_id", FILE, REASONS).collect()
    assert sorted((row[0] or "", row[1], row[2]) for row in again) == [
        ("", "b.csv", ["event_id is missing"]),
        ("", "b.csv", ["event_id is missing"]),
        ("e1", "b.csv", ["event_id repeats another row's"]),
    ]


def test_a_bad_row_does_not_stand_in_the_way_of_a_good_one_of_its_key(spark):
    rows = raw(spark, [GOOD | {"ms": "-1"}], file="a.csv").union(raw(spark, [GOOD], file="b.csv"))
    judged = with_repeats(judge(rows, "listens", LISTENS), "listens")
    assert {row[0]: row[1] for row in judged.select(FILE, REASONS).collect()} == {
        "a.csv": ["ms_played is below 0 (-1)", "event_id repeats another row's"],
        "b.csv": [],
    }


def test_keys_of_two_columns_repeat_only_together(spark):
    rows = [("ann", "t1"), ("ann", "t2"), ("bob", "t1"), ("ann", "t1")]
    columns = {
        "user_id": "user",
        "picked_id": "pick",
        "picked_kind": {"constant": "item"},
        "picked_at": {"now": True},
    }
    picks = raw(spark, rows, "user string, pick string")
    judged = judge(picks, "onboarding", TableSource(files="x.csv", columns=columns))
    found = with_repeats(judged, "onboarding").select(REASONS).collect()
    assert sorted(row[0] for row in found) == [
        *[[]] * 3,
        ["user_id and picked_id repeats another row's"],
    ]


def test_items_nobody_knows_are_one_more_reason(spark):
    rows = [GOOD, GOOD | {"id": "e2", "sku": "t9"}, GOOD | {"id": "e3", "sku": "t9", "ms": "-1"}]
    rows.append(GOOD | {"id": "e4", "sku": None})
    items = spark.createDataFrame([("t1",), ("t2",)], "item_id string")
    judged = with_unknown_items(judge(raw(spark, rows), "listens", LISTENS), items)
    assert reasons(judged) == {
        "e1": [],
        "e2": ["item_id is not in items (t9)"],
        "e3": ["ms_played is below 0 (-1)", "item_id is not in items (t9)"],
        "e4": ["item_id is missing"],
    }


def test_numbers_become_times_and_durations_by_their_unit(spark):
    schema = "id string, s long, ms double, us string, long_s double"
    rows = [("e1", 1_700_000_000, 1_700_000_000_123.0, "1700000000123456", 1.5)]
    columns = {
        name: {"column": theirs, "unit": unit}
        for name, theirs, unit in [
            ("played_at", "s", "s"),
            ("ingested_at", "us", "us"),
            ("ms_played", "long_s", "s"),
        ]
    }
    (row,) = mapped(spark, rows, schema, "listens", event_id="id", **columns)
    moment = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001
    assert row["played_at"] == moment
    assert row["ingested_at"] == moment + timedelta(microseconds=123_456)
    assert row["ms_played"] == 1500
    (row,) = mapped(spark, rows, schema, "listens", played_at={"column": "ms", "unit": "ms"})
    assert row["played_at"] == moment + timedelta(milliseconds=123)


@pytest.mark.parametrize("odd", ["NaN", "soon", "1e300"])
def test_what_is_no_number_becomes_no_time(spark, odd):
    columns = {
        "played_at": {"column": "at", "unit": "s"},
        "ms_played": {"column": "at", "unit": "s"},
    }
    (row,) = mapped(spark, [(odd,)], "at string", "listens", **columns)
    assert row["played_at"] is None
    assert row["ms_played"] is None
    assert f"played_at is no timestamp ({odd})" in row[REASONS]
    assert f"ms_played is no long ({odd})" in row[REASONS]


@pytest.mark.parametrize("kind", ["long", "string"])
def test_a_history_without_a_clock_is_laid_out_by_position(spark, kind):
    position = {
        "position": "nth",
        "within": "user",
        "ends_at": datetime(2015, 1, 1, tzinfo=UTC),
        "step": timedelta(hours=4),
    }
    schema = f"user string, nth {kind}"
    rows = [("ann", 9), ("ann", 10), ("ann", 11), ("bob", 1)]
    rows = [(user, str(nth) if kind == "string" else nth) for user, nth in rows]
    found = mapped(spark, rows, schema, "listens", user_id="user", played_at=position)
    ends = datetime(2015, 1, 1)  # noqa: DTZ001
    assert sorted((row["user_id"], row["played_at"]) for row in found) == [
        ("ann", ends - timedelta(hours=8)),
        ("ann", ends - timedelta(hours=4)),
        ("ann", ends),
        ("bob", ends),
    ]


def test_a_span_lays_every_history_out_evenly_over_the_same_time(spark):
    ends = datetime(2015, 1, 1, tzinfo=UTC)
    position = {"position": "nth", "within": "user", "ends_at": ends, "span": timedelta(days=10)}
    rows = [("ann", nth) for nth in (1, 2, 3, 4, 5)] + [("bob", 7), ("bob", 9), ("eve", 3)]
    found = mapped(
        spark, rows, "user string, nth long", "listens", user_id="user", played_at=position
    )
    behind = [
        (row["user_id"], (ends.replace(tzinfo=None) - row["played_at"]).days) for row in found
    ]
    assert sorted(behind) == [
        *(("ann", days) for days in (0, 2, 4, 6, 8)),
        *(("bob", days) for days in (0, 5)),
        ("eve", 0),
    ]


@pytest.mark.parametrize("kind", ["long", "string"])
def test_a_share_of_the_histories_is_laid_out_over_a_shorter_span(spark, kind):
    ends = datetime(2015, 1, 1, tzinfo=UTC)
    late = {"share": 0.25, "span": timedelta(days=2)}
    position = {"position": "nth", "within": "user", "ends_at": ends, "span": timedelta(days=10)}
    users = [user if kind == "long" else str(user) for user in range(200)]
    rows = [(user, nth) for user in users for nth in (1, 2)]
    found = mapped(
        spark,
        rows,
        f"user {kind}, nth long",
        "listens",
        user_id="user",
        played_at=position | {"newcomers": late},
    )
    first = {
        row["user_id"]: (ends.replace(tzinfo=None) - row["played_at"]).days
        for row in found
        if row["played_at"] < ends.replace(tzinfo=None)
    }
    assert set(first.values()) == {1, 5}
    newcomers = [user for user, days in first.items() if days == 1]
    assert 30 <= len(newcomers) <= 70
    assert {"1", "104", "111"} <= set(newcomers)  # by the id alone, whatever its type


def test_a_hash_tells_rows_apart_and_is_the_same_each_time(spark):
    origin = {"hash_of": ["a", "b"]}
    rows = [("x", 1), ("x", 2), (None, 1), ("x", 1)]
    ids = [
        row["event_id"]
        for row in mapped(spark, rows, "a string, b long", "listens", event_id=origin)
    ]
    assert sorted(ids).count(hashlib.sha256(b"x\x1f1").hexdigest()[:32]) == 2
    assert len(set(ids)) == 3


def test_constants_lists_and_splits(spark):
    rows = [("t1", "rock|pop", ["x"], "solo", "1999"), ("t2", None, None, None, None)]
    found = mapped(
        spark,
        rows,
        "id string, tags string, many array<string>, one string, day string",
        genres={"column": "tags", "split": "|"},
        language={"constant": "en"},
        duration_ms={"constant": 5},
        released_on="day",
    )
    assert found[0]["genres"] == ["rock", "pop"]
    assert (found[0]["language"], found[0]["duration_ms"]) == ("en", 5)
    assert found[1]["genres"] is None
    for theirs, expected in [("many", ["x"]), ("one", ["solo"])]:
        found = mapped(
            spark,
            rows,
            "id string, tags string, many array<string>, one string, day string",
            genres=theirs,
        )
        assert [row["genres"] for row in found] == [expected, None]


NAMES = [f"f{number}" for number in range(9)]


def test_columns_side_by_side_are_a_vector_or_unknown(spark):
    rows = [("t1", *["0.5"] * 9), ("t2", *["0.5"] * 8, None)]
    schema = ", ".join(["id string", *(f"{name} string" for name in NAMES)])
    found = mapped(spark, rows, schema, audio_features={"columns": NAMES})
    assert [row["audio_features"] for row in found] == [[0.5] * 9, None]
    assert [row[REASONS] for row in found] == [[], []]


def test_a_vector_that_the_gate_would_stop_is_a_reason_here(spark):
    rows = [
        ("good", ",".join(["0.5"] * 9)),
        ("short", "1,2"),
        ("nan", ",".join(["NaN"] + ["0.5"] * 8)),
        ("word", ",".join(["loud"] + ["0.5"] * 8)),
    ]
    spec = TableSource(
        files="x.csv",
        columns={
            "item_id": "id",
            "kind": {"constant": "track"},
            "audio_features": {"column": "sound", "split": ","},
        },
    )
    judged = judge(raw(spark, rows, "id string, sound string"), "items", spec)
    found = {row[0]: row[1] for row in judged.select("item_id", REASONS).collect()}
    assert found["good"] == []
    assert found["short"] == ["audio_features has fewer than 9 entries (2)"]
    assert "audio_features holds what is no finite number" in found["nan"][0]
    assert "audio_features" in found["word"][0]


def test_a_catalogue_read_off_the_events_has_each_item_once(spark):
    spec = TableSource(
        files="x.csv", distinct=True, columns={"item_id": "sku", "kind": {"constant": "track"}}
    )
    judged = judge(raw(spark, [GOOD, GOOD, GOOD | {"sku": "t2"}]), "items", spec)
    assert sorted(row["item_id"] for row in judged.collect()) == ["t1", "t2"]


def test_csv_json_and_parquet_are_read_as_the_same_rows(spark, tmp_path):
    rows = [GOOD, GOOD | {"id": "e2", "at": "2020-03-01T12:00:00Z", "ms": None}]
    table = pa.Table.from_pylist(rows)
    pa.csv.write_csv(table, tmp_path / "p.csv")
    (tmp_path / "p.json").write_text("\n".join(json.dumps(row | {"n": 1.50}) for row in rows))
    pq.write_table(table, tmp_path / "p.parquet")
    seen = []
    for name in ("p.csv", "p.json", "p.parquet"):
        judged = judge(read(spark, tmp_path, name, columns=LISTENS.columns), "listens", LISTENS)
        got = judged.orderBy("event_id").drop(RAW, FILE, "ingested_at").collect()
        seen.append([row.asDict() for row in got])
        assert {row[FILE] for row in judged.select(FILE).collect()} == {name}
    assert seen[0] == seen[1] == seen[2]
    assert [row[REASONS] for row in seen[0]] == [[], []]


def test_nanoseconds_become_the_microseconds_before_them(spark, tmp_path):
    exact = [1_700_000_000_123_456_000, 1_699_999_999_999_999_999, 1_234_567_890_123_457_000]
    times = pa.array(exact, pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({"id": ["a", "b", "c"], "at": times}), tmp_path / "p.parquet")
    columns = {"event_id": "id", "played_at": "at"}
    frame = read(spark, tmp_path, "p.parquet", columns=columns)
    judged = judge(frame, "listens", TableSource(files="p.parquet", columns=columns))
    micros = judged.orderBy("event_id").select(F.unix_micros("played_at")).collect()
    assert [row[0] for row in micros] == [nanos // 1000 for nanos in exact]


def test_joined_columns_stand_beside_where_there_are_any(spark, tmp_path):
    pa.csv.write_csv(
        pa.table({"user": ["ann"] * 3, "sku": ["t1", "t2", None]}), tmp_path / "plays.csv"
    )
    pa.csv.write_csv(
        pa.table({"sku": ["t1", "t1"], "tags": ["rock", "rock"]}), tmp_path / "tags.csv"
    )
    join = [{"files": "tags.csv", "by": "sku"}]
    frame = read(spark, tmp_path, "plays.csv", "items", columns={"item_id": "sku"}, join=join)
    found = {(row[RAW]["sku"], row[RAW]["tags"], row[RAW]["user"]) for row in frame.collect()}
    assert found == {("t1", "rock", "ann"), ("t2", None, "ann"), (None, None, "ann")}
    assert frame.count() == 3


def test_a_row_is_kept_as_json_with_its_nulls_and_every_microsecond(spark):
    moment = datetime(2023, 11, 14, 22, 13, 20, 123456)  # noqa: DTZ001
    rows = [(None, 1500.0, moment, [1, None], 1 << 60)]
    frame = raw(spark, rows, "a string, b double, c timestamp, e array<int>, f long")
    assert json.loads(frame.select(raw_json(frame)).first()[0]) == {
        "a": None,
        "b": 1500.0,
        "c": "2023-11-14 22:13:20.123456",
        "e": [1, None],
        "f": 1 << 60,
    }
