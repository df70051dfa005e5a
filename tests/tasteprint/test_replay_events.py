from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from jobs import read_listens
from schemas.errors import BatchError, InputError
from tasteprint.replay_events import busiest, narrowed, of_lakehouse, of_source

SOURCE = {
    "name": "shop",
    "tables": {
        "items": {
            "files": "items.csv",
            "columns": {"item_id": "sku", "kind": {"constant": "track"}},
        },
        "listens": {
            "files": "plays.csv",
            "columns": {
                "event_id": "id",
                "user_id": "user",
                "item_id": "sku",
                "item_kind": {"constant": "track"},
                "played_at": {"column": "at", "unit": "s"},
                "ms_played": "ms",
                "ingested_at": {"now": True},
            },
        },
    },
}
PLAYS = "id,user,sku,at,ms\ne3,ann,a,300,1\ne1,bob,b,100,1\ne2,ann,a,200,-5\ne4,ann,a,400,-6\n"


@pytest.fixture
def lived(lake, plays, named_items):
    """A lakehouse with plays around the moment of its live batch, and that moment."""
    as_of = named_items(lake).as_of
    lake.append("listens", plays(("ann", 5), ("bob", -5), ("ann", 1), ("bob", 0), begin=as_of))
    return lake, as_of


def ids(rows: pa.Table) -> list[str]:
    return rows["event_id"].to_pylist()


def test_the_lakehouse_plays_what_its_live_batch_has_not_seen_in_order_of_time(lived):
    lake, _ = lived
    rows = of_lakehouse(lake, None).rows
    assert ids(rows) == ["e3", "e2", "e0"]
    assert "ingested_at" not in rows.column_names


def test_another_moment_may_be_named(lived):
    lake, as_of = lived
    assert ids(of_lakehouse(lake, as_of - timedelta(hours=1)).rows) == ["e1", "e3", "e2", "e0"]
    with pytest.raises(InputError, match=r"no listens to replay in .* give an earlier --from"):
        of_lakehouse(lake, as_of + timedelta(hours=1))


def test_without_a_live_batch_a_moment_is_needed(lake, plays):
    lake.append("listens", plays(("ann", 0)))
    with pytest.raises(BatchError):
        of_lakehouse(lake, None)


def test_the_busiest_users_come_first_and_by_id_where_they_are_equal(plays):
    rows = plays(("zoe", 0), ("bob", 1), ("ann", 2), ("bob", 3), ("ann", 4))
    assert busiest(rows, 2) == ["ann", "bob"]
    assert busiest(rows, 9) == ["ann", "bob", "zoe"]


def test_users_are_chosen_before_events_are_counted_off(plays):
    rows = plays(("zoe", 0), ("bob", 1), ("ann", 2), ("bob", 3))
    assert ids(narrowed(rows, users=1, limit=None)) == ["e1", "e3"]
    assert ids(narrowed(rows, users=1, limit=1)) == ["e1"]
    assert ids(narrowed(rows, users=None, limit=2)) == ["e0", "e1"]
    assert ids(narrowed(rows, users=None, limit=None)) == ids(rows)


@pytest.mark.spark
def test_a_source_plays_its_good_rows_and_counts_the_others(tmp_path, shared_session):
    shared_session("read_listens")
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(SOURCE))
    (tmp_path / "items.csv").write_text("sku\na\nb\n")
    (tmp_path / "plays.csv").write_text(PLAYS)
    folders = []

    def read(flags: list[str]) -> None:
        folders.append(Path(flags[-1]))
        read_listens.main(flags)

    found = of_source(str(tmp_path / "shop.yaml"), str(tmp_path), None, read)
    assert ids(found.rows) == ["e1", "e3"]
    assert found.left_out == {"ms_played is below 0": 2}
    assert not folders[0].parent.exists()
