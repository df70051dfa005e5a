import json

import pytest
from pyspark import StorageLevel
from pyspark.sql import functions as F

from jobs import ingest
from jobs.suppress import without_erased
from lakehouse.erasure import forget
from lakehouse.steps import finished_steps
from lakehouse.suppression import Suppressed, subject

KEY = b"0123456789abcdef" * 2
ERASED = Suppressed(KEY, frozenset([subject(KEY, "a'b")]))
ITEMS = [{"sku": "t0", "title": "Song"}]


@pytest.fixture
def kept_and_dropped(spark):
    """Filter four rows as a job does: the frame is computed once, the count asked for after."""
    rows = [
        ("a'b", [], "{}"),
        ("c", [], json.dumps({"friend": "a'b"})),
        (None, ["user_id is missing"], json.dumps({"x": ["a'b"]})),
        ("d", ["ms_played is missing"], "{}"),
    ]
    frame = spark.createDataFrame(rows, "user_id string, _reasons array<string>, raw string")
    kept, dropped = without_erased(frame, F.col("raw"), ERASED)
    return kept.persist(StorageLevel.DISK_ONLY), dropped


@pytest.mark.spark
def test_rows_of_erased_people_are_dropped_and_counted(kept_and_dropped):
    kept, dropped = kept_and_dropped
    assert sorted(row["user_id"] for row in kept.collect()) == ["c", "d"]
    assert dropped() == 2


@pytest.mark.spark
def test_the_key_stands_in_no_plan(kept_and_dropped, capsys):
    kept, _ = kept_and_dropped
    kept.explain(extended=True)
    plan = capsys.readouterr().out
    assert "is_erased" in plan
    for secret in (KEY.decode(), KEY.hex(), *ERASED.subjects):
        assert secret not in plan


@pytest.mark.spark
def test_old_files_bring_nobody_back(shared_session, new_shop, tmp_path, good_play, monkeypatch):
    shared_session("ingest")
    shop = new_shop(tmp_path / "shop")
    shop.put("items.csv", ITEMS)
    plays = [good_play(number, sku="t0") for number in range(40)]
    shop.put("plays.csv", [*plays, good_play(40, ms="long", user="u3"), good_play(41, sku="t9")])
    ingest.main(shop.argv)
    assert len(shop.rows("quarantine")) == 2
    receipt = forget(shop.lake, ["u3"])["u3"]
    assert receipt.removed == {"listens": 6, "quarantine": 1}
    others = [row for row in shop.rows("listens") if row["user_id"] != "u3"]
    monkeypatch.setattr(ingest, "finished_steps", lambda *_: {})
    ingest.main(shop.argv)
    assert shop.rows("listens") == others
    assert [row["event_id"] for row in shop.rows("quarantine")] == ["e41"]
    (run,) = {row["ingest_id"] for row in shop.rows("quarantine")}
    assert finished_steps(shop.lake, run)["ingest"]["detail"]["rows_of_erased"] == {"listens": 7}
    for row in [*shop.rows("validations"), *shop.rows("steps")]:
        assert "u3" not in str(row.values())
