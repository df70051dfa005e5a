import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import functions as F

from jobs import ingest, replay
from jobs.ingest import bad_rows
from jobs.judge import FILE, REASONS, judge, read_table, with_reason
from jobs.source import Delivery, Source, TableSource, load_source, replay_id
from lakehouse.quarantine import Choice, open_rows
from lakehouse.steps import finished_steps
from schemas.contract import contract
from schemas.errors import InputError

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

ITEMS = [{"sku": f"t{number}", "title": f"Song {number}"} for number in range(3)]
IN_SECONDS = {"column": "ms", "unit": "s"}


@pytest.fixture(scope="module")
def refused(tmp_path_factory, shared_session, new_shop, good_play):
    """A hundred good plays, and five that are refused: of items nobody knows, or of odd length."""
    shared_session("ingest")
    shared_session("replay")
    shop = new_shop(tmp_path_factory.mktemp("refused"))
    shop.put("items.csv", ITEMS)
    odd = [good_play(101, ms=ms) for ms in ("1.5", "3.5", "x")]
    odd += [good_play(100, sku="t9"), good_play(102, ms="2.5", sku="t8")]
    shop.put("plays1.csv", [*(good_play(number) for number in range(100)), *odd])
    ingest.main(shop.argv)
    return shop


@pytest.fixture
def shop(refused, tmp_path):
    """The same lakehouse after that delivery, for this test alone."""
    return refused.copied(tmp_path / "copy")


def argv(shop, *more):
    return ["--source", str(shop.source), "--lakehouse", shop.lake.uri, *more]


def fixed(shop, table="listens", **columns):
    """Correct the source file."""
    said = yaml.safe_load(shop.source.read_text())
    said["tables"][table]["columns"] |= columns
    shop.source.write_text(yaml.safe_dump(said))


def deliver(shop, items, plays):
    """One more delivery, of these alone."""
    shop.put("items.csv", items)
    shop.put("plays1.csv", plays)
    ingest.main(shop.argv)


def listens(shop):
    rows = shop.rows("listens")
    found = {row["event_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def quarantined(shop):
    """Every refused row by its id."""
    return {row["row_id"]: row for row in shop.rows("quarantine")}


def still_open(shop):
    """Id and length of each play that is open, as it came."""
    came = [json.loads(r["row"]) for r in shop.rows("quarantine") if r["replayed_at"] is None]
    return sorted((row["id"], row["ms"]) for row in came if "id" in row)


def test_what_is_good_by_now_lands_and_what_is_bad_stays_with_all_of_its_reasons(
    shop, good_play, capsys
):
    deliver(shop, [{"sku": "t9", "title": "New"}], [good_play(101, ms=7)])
    before = quarantined(shop)
    fixed(shop, ms_played=IN_SECONDS)
    replay.main(argv(shop))
    assert listens(shop)["e100"]["item_id"] == "t9"  # which the catalogue has by now
    assert listens(shop)["e101"]["ms_played"] == 7  # as another delivery brought it meanwhile
    said = capsys.readouterr().out
    assert "listens: 1 landed, 1 were there already, 3 are still bad" in said
    assert "1 rows: item_id is not in items" in said
    assert "1 rows: ms_played is no long" in said

    run_id = replay_id(load_source(str(shop.source)), before)
    step = finished_steps(shop.lake, run_id)["replay"]
    assert (step["rows_in"], step["rows_out"]) == (5, 1)
    checks = [check for check in shop.rows("validations") if check["run_id"] == run_id]
    assert {check["table"] for check in checks} == {"listens"}
    assert not shop.lake.filesystem.exists(f"{shop.lake.uri}/staging/{run_id}")

    after = quarantined(shop)
    for row_id, row in before.items():
        by = after[row_id]["replayed_by"]
        assert by in (None, run_id)
        assert (by is None) == (after[row_id]["replayed_at"] is None)
        assert after[row_id] | {"replayed_at": None, "replayed_by": None} == row
    (bad,) = [row for row in after.values() if row["event_id"] == "e102"]
    assert bad["replayed_at"] is None
    assert bad["reasons"] == ["ms_played is no long (2.5)", "item_id is not in items (t8)"]


def test_of_several_rows_of_one_key_one_lands_however_often_they_are_replayed(shop):
    fixed(shop, ms_played=IN_SECONDS)
    replay.main(argv(shop))
    landed = listens(shop)
    length = landed["e101"]["ms_played"]
    assert length in (1500, 3500)
    other = {1500: "3.5", 3500: "1.5"}[length]
    bad = [("e100", "1000"), ("e101", "x"), ("e102", "2.5")]
    assert still_open(shop) == sorted([*bad, ("e101", other)])
    replay.main(argv(shop))  # the other row is found to be there
    assert listens(shop) == landed
    assert still_open(shop) == bad


def test_a_replay_that_dies_before_it_marks_its_rows_lands_them_once(shop, monkeypatch, capsys):
    fixed(shop, ms_played=IN_SECONDS)
    only = ("--reason", "ms_played is no long (1.5)")
    everything = still_open(shop)

    def die(*_):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(replay, "mark_replayed", die)
        with pytest.raises(ConnectionError):
            replay.main(argv(shop, *only))
    landed = listens(shop)
    assert landed["e101"]["ms_played"] == 1500
    assert still_open(shop) == everything
    replay.main(argv(shop, *only))
    assert "0 landed, 1 were there already, 0 are still bad" in capsys.readouterr().out
    assert listens(shop) == landed
    assert still_open(shop) == [play for play in everything if play != ("e101", "1.5")]


def test_refused_items_come_in_before_their_plays_and_overwrite_nothing(shop, good_play, capsys):
    fixed(shop, table="items", duration_ms="long")
    many = [{"sku": f"s{number}", "title": "S", "long": 1} for number in range(60)]
    bad = [{"sku": sku, "title": "Other", "long": "1.5"} for sku in ("t0", "t9")]
    deliver(shop, [*many, *bad], [good_play(110)])
    fixed(shop, table="items", duration_ms={"column": "long", "unit": "s"})
    replay.main(argv(shop))
    titles = {row["item_id"]: row["title"] for row in shop.rows("items")}
    assert (titles["t0"], titles["t9"]) == ("Song 0", "Other")
    assert listens(shop)["e100"]["item_id"] == "t9"
    said = capsys.readouterr().out
    assert "items: 1 landed, 0 were there already, 1 are still bad" in said
    assert "1 rows: item_id is in items with other values" in said


def test_rows_that_lack_a_column_of_the_source_are_not_judged(shop, capsys):
    fixed(shop, ms_played="mss")
    with pytest.raises(SystemExit) as end:
        replay.main(argv(shop))
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "listens.ms_played should come from column 'mss', which the files lack" in said
    assert "did you mean 'ms'?" in said
    assert len(still_open(shop)) == 5


def test_a_play_whose_time_is_its_position_is_refused_before_spark_starts(shop, capsys):
    fixed(
        shop,
        played_at={
            "position": "at",
            "within": "user",
            "ends_at": datetime(2024, 1, 1, tzinfo=UTC),
            "step": "PT1M",
        },
    )
    with pytest.raises(SystemExit) as end:
        replay.main(argv(shop))
    assert end.value.code == 2
    assert "refused rows of listens cannot be replayed" in capsys.readouterr().err


def test_rows_of_another_source_are_left_alone(shop, capsys):
    shop.source.write_text(shop.source.read_text().replace("name: shop", "name: sho"))
    replay.main(argv(shop))
    assert "no refused rows to replay" in capsys.readouterr().out
    assert len(open_rows(shop.lake, Choice(source="shop"))) == 5


PLAYS = TableSource(
    files="x",
    columns={
        "event_id": {"hash_of": ["user", "at", "length", "tags"]},
        "user_id": "user",
        "item_id": "sku",
        "item_kind": {"constant": "track"},
        "played_at": "at",
        "ms_played": "length",
        "ingested_at": "seen",
    },
)
THINGS = TableSource(
    files="x",
    columns={
        "item_id": "sku",
        "kind": {"constant": "track"},
        "title": "user",
        "genres": {"column": "tags", "split": "|"},
        "released_on": "day",
        "duration_ms": {"column": "length", "unit": "s"},
        "audio_features": "sound",
    },
)


def times(*moments, unit):
    scale = {"us": 1, "ns": 1000}[unit]
    exact = [1_700_000_000_000_000 + micros for micros in moments]
    return pa.array([micros * scale for micros in exact], pa.timestamp(unit, tz="UTC"))


def frame(tags, length, sound):
    return pa.table(
        {
            "user": ["ann [live]", None],
            "sku": ["5", "7"],
            "at": times(123_456, 500_000, unit="ns"),
            "seen": times(0, 1, unit="us"),
            "length": length,
            "day": pa.array([0, 20_000], pa.date32()),
            "tags": tags,
            "sound": sound,
        }
    )


SOUND = [[0.1, 0.25, float("nan"), *[1e-7] * 6], None]
PARQUET = frame(
    pa.array([["rock", None, "a|b"], []]),
    pa.array([1500.0, None]),
    pa.array(SOUND, pa.list_(pa.float32())),
)
TEXTS = frame(["rock|[pop]", None], ["1500", "1500.5"], ["0.5", ""])
LINES = [
    {"user": "ann", "sku": "5", "at": "2024-03-01T10:00:00.123456+01:00", "length": 1.50},
    {"user": "[1]", "sku": 5, "at": "2024-03-01 10:00:00", "length": 1500, "tags": ["x", "y"]},
]


def write(folder, kind):
    place = folder / f"p.{kind}"
    match kind:
        case "parquet":
            pq.write_table(PARQUET, place)
        case "csv":
            pa.csv.write_csv(TEXTS, place)
        case _:
            shared = {"seen": "2024-03-01", "day": "2024-03-01", "sound": None, "tags": None}
            place.write_text("\n".join(json.dumps(shared | line) for line in LINES))
    return str(place)


@pytest.mark.parametrize(("table", "spec"), [("listens", PLAYS), ("items", THINGS)])
@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_a_row_that_is_read_back_is_mapped_as_when_it_came(spark, tmp_path, kind, table, spec):
    delivery = Delivery(Source(name="x", tables={table: spec}), {"x": [write(tmp_path, kind)]}, "i")
    came = judge(read_table(spark, delivery, spec), table, spec)
    kept = bad_rows(with_reason(came, F.lit("refused")), table, "ingest-x-1")
    kept = kept.withColumnRenamed("file", FILE)
    (back,) = replay.read_back(kept, table, spec)
    columns = [F.col(name) for name in contract(table).column_names]
    again = judge(back, table, spec).select(*columns, REASONS)
    expected, found = (
        sorted(map(str, rows.collect())) for rows in (came.select(*columns, REASONS), again)
    )
    assert found == expected


def test_ingests_that_disagree_in_types_are_read_each_by_its_own(spark):
    rows = [
        ("r1", "ingest-x-1", '{"sku":"5","tags":["a"]}', "f"),
        ("r2", "ingest-x-2", '{"sku":5,"tags":"[a]|b"}', "f"),
        ("r3", "ingest-x-3", '{"sku":"5","tags":["c"]}', "f"),
    ]
    kept = spark.createDataFrame(
        rows, f"row_id string, ingest_id string, row string, {FILE} string"
    )
    columns = {name: THINGS.columns[name] for name in ("item_id", "kind", "genres")}
    spec = TableSource(files="x", columns=columns)
    parts = replay.read_back(kept, "items", spec)
    assert len(parts) == 2
    found = [row for part in parts for row in judge(part, "items", spec).collect()]
    assert {row["row_id"]: row["genres"] for row in found} == {
        "r1": ["a"],
        "r2": ["[a]", "b"],
        "r3": ["c"],
    }


def test_a_source_that_does_not_fit_lists_everything_by_ingest(spark):
    rows = [("r1", "ingest-x-1", '{"sku":"5"}', "f")]
    kept = spark.createDataFrame(
        rows, f"row_id string, ingest_id string, row string, {FILE} string"
    )
    with pytest.raises(InputError) as error:
        replay.read_back(kept, "items", THINGS)
    assert "rows of ingest-x-1: items.genres should come from column 'tags'" in str(error.value)
    assert str(error.value).count("\n") == 5
