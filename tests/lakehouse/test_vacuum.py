import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import write_deltalake

from lakehouse.export_folders import exports_of
from lakehouse.exporting import export
from lakehouse.side_car import Asked
from lakehouse.vacuum import vacuum

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
A_DAY = 24
USERS = ("ann", "bob")


@pytest.fixture
def publish(lake, batches, rows_of):
    """Commits a batch's rows of ``user_features``, and lets the batch know."""

    def published(batch_id, *users, record=True):
        rows = rows_of("user_features", *({"batch_id": batch_id, "user_id": u} for u in users))
        whose = f"batch_id = '{batch_id}'"
        write_deltalake(lake.ensure("user_features"), rows, mode="overwrite", predicate=whose)
        version = lake.open("user_features").version()
        if record:
            batches.record(batch_id, tables={"user_features": version})
        return version

    return published


@pytest.fixture
def opened(lake, batches, rows_of, publish):
    """Opens a batch on the users that are there now, in a state; each pins another version."""

    def batch(state="building"):
        lake.append("users", rows_of("users", {"user_id": f"user {len(batches.list())}"}))
        pins = {"users": lake.open("users").version()}
        batch_id = batches.open(AS_OF, pins, "s", "v").batch_id
        publish(batch_id, *USERS)
        if state != "building":
            batches.record(batch_id, state="failed" if state == "failed" else "candidate")
        if state in ("live", "legacy"):
            batches.promote(batch_id)
        if state == "retired":
            batches.retire(batch_id)
        return batch_id

    return batch


def overwrite(lake, rows_of):
    """Make every file of the users so far needless, except to those who pin it."""
    write_deltalake(lake.open("users"), rows_of("users", {"user_id": "new"}), mode="overwrite")


def files(lake, below=""):
    return {p for p in (Path(lake.uri) / below).rglob("*.parquet") if "_delta_log" not in str(p)}


def users_of(lake, batches, batch_id):
    return sorted(lake.read("users", batches.get(batch_id))["user_id"].to_pylist())


def test_what_a_batch_pins_stays_until_it_is_retired(lake, batches, opened, rows_of):
    ids = [opened("legacy"), *(opened(s) for s in ("live", "candidate", "building", "failed"))]
    overwrite(lake, rows_of)
    before = {batch_id: users_of(lake, batches, batch_id) for batch_id in ids}
    vacuum(lake, retention_hours=0)
    assert {batch_id: users_of(lake, batches, batch_id) for batch_id in ids} == before
    for batch_id in ids:
        assert lake.read("user_features", batches.get(batch_id)).num_rows == len(USERS)


def test_what_only_a_retired_batch_needed_goes_at_once(lake, batches, opened):
    kept, retired = opened("candidate"), opened("retired")
    later = opened("candidate")  # its version holds the retired batch's partition
    lake.write_text(f"{lake.model_uri(retired)}/model.json", "{}")
    lake.write_text(f"{lake.model_uri(kept)}/model.json", "{}")
    vacuum(lake)
    assert files(lake, f"tables/user_features/batch_id={retired}") == set()
    assert not lake.filesystem.exists(f"{lake.model_uri(retired)}/model.json")
    assert lake.filesystem.exists(f"{lake.model_uri(kept)}/model.json")
    for batch_id in (kept, later):
        assert lake.read("user_features", batches.get(batch_id)).num_rows == len(USERS)
        version = batches.get(batch_id).tables["user_features"]
        assert lake.open("user_features", version).count() == 2 * len(USERS)  # whole, for Spark too


def test_an_input_that_only_a_retired_batch_pinned_goes(lake, opened, rows_of):
    opened("retired")
    overwrite(lake, rows_of)
    assert len(files(lake, "tables/users")) == 2
    vacuum(lake, retention_hours=0)
    assert len(files(lake, "tables/users")) == 1


def test_old_files_stay_as_long_as_was_asked_for(lake, opened, rows_of):
    opened("retired")
    overwrite(lake, rows_of)
    vacuum(lake, retention_hours=A_DAY)
    assert len(files(lake, "tables/users")) == 2


def test_files_of_a_batch_under_way_stay_though_no_commit_names_them(lake, opened):
    building = opened("building")
    place = Path(lake.table_uri("user_features")) / f"batch_id={building}" / "bucket-1.parquet"
    place.write_text("a bucket that is done")
    other = Path(lake.table_uri("user_features")) / "batch_id=nobody" / "bucket-1.parquet"
    other.parent.mkdir()
    other.write_text("left behind")
    for path in (place, other):
        os.utime(path, times=(time.time() - 30 * A_DAY * 3600,) * 2)
    vacuum(lake)
    assert place.exists()
    assert not other.exists()
    vacuum(lake, retention_hours=0, unfinished=True)
    assert not place.exists()


def test_a_refresh_under_way_keeps_both_versions_of_its_rows(lake, batches, opened, publish):
    retired, live = opened("retired"), opened("live")
    batches.begin_refresh(live, AS_OF, {})
    publish(live, "ann", "bob", "new")
    vacuum(lake, retention_hours=0)
    assert lake.read("user_features", batches.get(live)).num_rows == 2
    assert lake.read("user_features", batches.get(live).refreshed()).num_rows == 3
    batches.end_refresh(live, keep=True)
    vacuum(lake, retention_hours=0)
    assert lake.read("user_features", batches.get(live)).num_rows == 3
    assert files(lake, f"tables/user_features/batch_id={retired}") == set()


def test_a_refresh_that_was_dropped_leaves_what_was_served(lake, batches, opened, publish):
    opened("retired")
    live = opened("live")
    served = batches.get(live).tables["user_features"]
    batches.begin_refresh(live, AS_OF, {})
    publish(live, "new")
    batches.end_refresh(live, keep=False)
    vacuum(lake, retention_hours=0)
    now = batches.get(live)
    assert now.tables["user_features"] > served
    assert sorted(lake.read("user_features", now)["user_id"].to_pylist()) == list(USERS)
    assert len(files(lake, f"tables/user_features/batch_id={live}")) == 1


def test_a_dry_run_names_what_would_go_and_changes_nothing(lake, opened, rows_of):
    retired = opened("retired")
    opened("candidate")
    overwrite(lake, rows_of)
    lake.write_text(f"{lake.model_uri(retired)}/model.json", "{}")
    before = sorted(Path(lake.uri).rglob("*"))
    said = vacuum(lake, dry_run=True)
    assert sorted(Path(lake.uri).rglob("*")) == before
    done = vacuum(lake)
    assert {part.what: part.files for part in said} == {part.what: part.files for part in done}
    assert {f"models/{retired}", "tables/user_features"} <= {part.what for part in done}


def test_a_model_stays_while_a_batch_that_was_made_again_with_it_is_not_retired(
    lake, batches, opened
):
    original, copy = opened("retired"), opened()
    weights = Path(lake.model_uri(original), "model.safetensors")
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    batches.record(copy, model_uri=lake.model_uri(original))
    vacuum(lake, retention_hours=0)
    assert weights.exists()
    batches.retire(copy)
    vacuum(lake, retention_hours=0)
    assert not weights.exists()


def test_exports_go_with_their_batch_or_when_it_has_other_rows(lake, two_spaces):
    old, live = two_spaces()
    asked = Asked(formats=("npy",))
    places = [export(lake, batch, asked)[0] for batch in (old, live)]
    rows = lake.read("user_embeddings", live)
    lake.open("user_embeddings").delete(f"batch_id = '{live.batch_id}'")
    lake.append("user_embeddings", rows)
    version = lake.open("user_embeddings").version()
    live = lake.batches.record(live.batch_id, tables={"user_embeddings": version})
    refreshed, *_ = export(lake, live, asked)
    lake.batches.retire(old.batch_id)
    said = [part.what for part in vacuum(lake, dry_run=True)]
    assert f"exports/{old.batch_id}/{Path(places[0]).name}" in said
    assert all(Path(place, "users.npy").exists() for place in (*places, refreshed))
    vacuum(lake)
    assert sorted(exports_of(lake)) == sorted([places[1], refreshed])  # newer than a week
    vacuum(lake, retention_hours=0)
    assert list(exports_of(lake)) == [refreshed]
    assert export(lake, lake.batches.get("live"), asked)[2] is False  # though its version moved


def test_there_is_nothing_to_remove_twice(lake, opened):
    opened("retired")
    opened("live")
    vacuum(lake, retention_hours=0)
    assert vacuum(lake, retention_hours=0) == []
