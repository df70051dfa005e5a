import hashlib
import json

import pytest
from pyspark.sql import functions as F

from jobs import ingest
from jobs.ingest import DELIVERY, Ingest, Tally, require_tolerable, tally
from jobs.judge import REASONS
from jobs.source import check_source
from lakehouse.overrides import override
from lakehouse.steps import finished_steps
from lakehouse.storage import Lakehouse
from schemas.errors import GateError

ITEMS = [{"sku": f"t{number}", "title": f"Song {number}"} for number in range(3)]
TWICE_BAD = {"ms": "long", "user": ""}
TWICE_BAD_REASONS = ["user_id is missing", "ms_played is no long (long)"]


def by_key(rows, key):
    return sorted(rows, key=lambda row: row[key])


def event_ids(shop):
    return sorted(row["event_id"] for row in shop.rows("listens"))


def ingest_id(shop):
    return check_source(str(shop.source), str(shop.data)).ingest_id


@pytest.fixture(scope="module")
def first_delivery(tmp_path_factory, shared_session, new_shop, good_play):
    """Forty good plays, one that is bad twice, one that repeats another: ingested once."""
    shared_session("ingest")
    shop = new_shop(tmp_path_factory.mktemp("first"))
    shop.put("items.csv", ITEMS)
    plays = [good_play(number) for number in range(40)]
    shop.put("plays1.csv", [*plays, good_play(40, **TWICE_BAD), good_play(7)])
    ingest.main(shop.argv)
    return shop


@pytest.fixture
def shop(first_delivery, tmp_path):
    """The same lakehouse after the first delivery, for this test alone."""
    return first_delivery.copied(tmp_path / "copy")


@pytest.mark.spark
def test_good_rows_are_published_and_only_they(first_delivery):
    assert event_ids(first_delivery) == sorted(f"e{number}" for number in range(40))
    assert [row["title"] for row in by_key(first_delivery.rows("items"), "item_id")] == [
        "Song 0",
        "Song 1",
        "Song 2",
    ]


@pytest.mark.spark
def test_bad_rows_are_kept_as_they_came_with_every_reason(first_delivery):
    rows = by_key(first_delivery.rows("quarantine"), "event_id")
    assert [row["event_id"] for row in rows] == ["e40", "e7"]
    bad, again = rows
    assert bad["reasons"] == TWICE_BAD_REASONS
    assert again["reasons"] == ["event_id repeats another row's"]
    came = {"id": "e40", "user": None, "sku": "t1", "at": "1700000040", "ms": "long"}
    assert json.loads(bad["row"]) == came
    assert (bad["table"], bad["file"]) == ("listens", "plays1.csv")
    assert bad["ingest_id"] == ingest_id(first_delivery)


@pytest.mark.spark
def test_a_refused_row_has_an_id_and_says_whose_it_is(first_delivery):
    bad, again = by_key(first_delivery.rows("quarantine"), "event_id")
    said = "\u001f".join([bad["ingest_id"], "listens", "plays1.csv", bad["row"]])
    assert bad["row_id"] == hashlib.sha256(said.encode()).hexdigest()[:32] != again["row_id"]
    assert (bad["user_id"], again["user_id"]) == (None, "u0")
    assert bad["replayed_at"] is bad["replayed_by"] is None


@pytest.mark.spark
def test_the_step_is_recorded_with_its_counts_and_reasons(first_delivery):
    step = finished_steps(first_delivery.lake, ingest_id(first_delivery))["ingest"]
    assert (step["rows_in"], step["rows_out"]) == (45, 43)
    assert step["detail"]["tables"] == {
        "items": {"good": 3, "bad": 0},
        "listens": {"good": 40, "bad": 2},
    }
    assert step["detail"]["reasons"]["listens"] == {
        "event_id repeats another row's": 1,
        "ms_played is no long": 1,
        "user_id is missing": 1,
    }


@pytest.mark.spark
def test_every_table_passed_its_gate_and_nothing_is_left_staged(first_delivery):
    checks = first_delivery.rows("validations")
    assert {check["table"] for check in checks} == {"delivery", "items", "listens"}
    assert all(check["success"] for check in checks)
    lake = first_delivery.lake
    assert lake.filesystem.exists(lake.report_uri(ingest_id(first_delivery)))
    assert not lake.filesystem.exists(f"{lake.uri}/staging/{ingest_id(first_delivery)}")


@pytest.mark.spark
def test_the_same_delivery_again_does_nothing(first_delivery, capsys):
    version = first_delivery.lake.open("listens").version()
    ingest.main(first_delivery.argv)
    assert "these files are in the lakehouse already" in capsys.readouterr().out
    assert first_delivery.lake.open("listens").version() == version


@pytest.mark.spark
def test_a_delivery_repeated_as_after_a_crash_adds_nothing(first_delivery, monkeypatch):
    tables = ("listens", "items", "quarantine")
    before = {table: sorted(map(str, first_delivery.rows(table))) for table in tables}
    monkeypatch.setattr(ingest, "finished_steps", lambda *_: {})
    ingest.main(first_delivery.argv)
    assert {table: sorted(map(str, first_delivery.rows(table))) for table in tables} == before


@pytest.mark.spark
def test_of_a_second_delivery_only_what_is_new_counts(shop, good_play):
    new = [good_play(number) for number in range(40, 59)]  # of items of the first delivery
    shop.put("plays1.csv", [good_play(39, ms=9), *new, good_play(59, sku="t3")])
    shop.put(
        "items.csv", [{"sku": "t1", "title": "Song 1, remastered"}, {"sku": "t3", "title": "New"}]
    )
    ingest.main(shop.argv)
    assert event_ids(shop) == sorted(f"e{number}" for number in range(60))
    old = next(row for row in shop.rows("listens") if row["event_id"] == "e39")
    assert old["ms_played"] == 1000  # an event never changes once it is known
    titles = {row["item_id"]: row["title"] for row in shop.rows("items")}
    assert titles == {
        "t0": "Song 0",
        "t1": "Song 1, remastered",
        "t2": "Song 2",
        "t3": "New",
    }


@pytest.mark.spark
def test_too_many_bad_rows_stop_the_delivery_and_are_kept(
    shared_session, new_shop, tmp_path, good_play, capsys
):
    shared_session("ingest")
    shop = new_shop(tmp_path / "shop")
    shop.put("items.csv", ITEMS)
    plays = [good_play(number) for number in range(9)]
    shop.put("plays.csv", [*plays, good_play(9, **TWICE_BAD), good_play(10, sku="t77")])
    with pytest.raises(SystemExit) as end:
        ingest.main(shop.argv)
    assert end.value.code == 3
    said = capsys.readouterr().err
    assert "delivery did not pass its gate, and nothing of it was published" in said
    assert "at most 5% of the rows of listens are refused: 2 of 11 rows are bad" in said
    assert "item_id is not in items: 1" in said
    assert shop.rows("listens") == shop.rows("items") == shop.rows("steps") == []
    assert {row["event_id"]: row["reasons"] for row in shop.rows("quarantine")} == {
        "e9": TWICE_BAD_REASONS,
        "e10": ["item_id is not in items (t77)"],
    }


@pytest.mark.spark
def test_a_table_that_fails_its_gate_keeps_all_others_back(shop, good_play, monkeypatch, capsys):
    before = {table: shop.lake.open(table).version() for table in ("items", "listens")}
    shop.put("plays1.csv", [good_play(number) for number in range(100, 130)])
    good_rows = ingest.good_rows

    def doubled(judged, table):
        rows = good_rows(judged, table)
        return rows.union(rows) if table == "listens" else rows

    monkeypatch.setattr(ingest, "good_rows", doubled)
    with pytest.raises(SystemExit) as end:
        ingest.main(shop.argv)
    assert end.value.code == 3
    assert "event_id is a primary key and must contain unique values" in capsys.readouterr().err
    assert {table: shop.lake.open(table).version() for table in before} == before


def test_flags_are_named_like_the_settings():
    args = Ingest.parse(["--source", "s.yaml", "--data", "d", "--lakehouse", "l"])
    assert (args.source, args.data, args.lakehouse) == ("s.yaml", "d", "l")


def test_a_delivery_that_does_not_fit_ends_before_spark_starts(
    new_shop, tmp_path, good_play, capsys
):
    shop = new_shop(tmp_path / "shop")
    shop.put("items.csv", [{"skuu": "t1", "title": "x"}])
    shop.put("plays.csv", [good_play(1)])
    with pytest.raises(SystemExit) as end:
        ingest.main(shop.argv)
    assert end.value.code == 2
    assert "did you mean 'skuu'?" in capsys.readouterr().err
    assert not (tmp_path / "shop" / "lake").exists()


def test_a_lakehouse_that_cannot_be_written_ends_before_spark_starts(
    new_shop, tmp_path, good_play, capsys
):
    shop = new_shop(tmp_path / "shop")
    shop.put("items.csv", ITEMS)
    shop.put("plays.csv", [good_play(1)])
    (tmp_path / "file").touch()
    shop.lake = Lakehouse(str(tmp_path / "file" / "lake"))
    with pytest.raises(SystemExit) as end:
        ingest.main(shop.argv)
    assert end.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.spark
def test_rows_and_kinds_of_fault_are_counted_together(spark):
    rows = [[], [], ["a (1)", "b"], ["a (2 (3))"], ["a (line\nbreak)"]]
    judged = spark.createDataFrame([(row,) for row in rows], f"{REASONS} array<string>")
    assert tally(judged) == (2, 3, {"a": 3, "b": 1})
    assert tally(judged.where(F.size(REASONS) == 0)) == (2, 0, {})


@pytest.mark.parametrize(("good", "bad"), [(95, 5), (1, 0)])
def test_up_to_the_allowed_share_a_delivery_counts_as_good(lake, good, bad):
    require_tolerable(lake, "d1", {"listens": Tally(good, bad, {"ms_played is below 0": bad})})
    (check,) = lake.open("validations").to_pyarrow_table().to_pylist()
    assert (check["check"], check["success"]) == ("listens.refused", True)
    assert check["unexpected_count"] == bad


OVER = {
    "items": Tally(94, 6, {"kind is missing": 6}),
    "users": Tally(10, 0, {}),
    "listens": Tally(0, 0, {}),
}


def test_every_table_with_too_many_bad_rows_is_named_with_its_reasons(lake):
    with pytest.raises(GateError) as error:
        require_tolerable(lake, "d1", OVER)
    said = str(error.value)
    assert "at most 5% of the rows of items are refused: 6 of 100 rows are bad" in said
    assert "(kind is missing: 6)" in said
    assert "listens are refused: 0 of 0 rows are bad" in said
    assert "users" not in said


def test_more_bad_rows_are_let_in_by_name_and_reason_alone(lake):
    for table in ("items", "listens"):
        with pytest.raises(GateError):
            require_tolerable(lake, "d1", OVER)
        override(lake, "d1", DELIVERY, f"{table}.refused", "Mira", "a test of the importer")
    require_tolerable(lake, "d1", OVER)
    with pytest.raises(GateError):
        require_tolerable(lake, "d2", OVER)
