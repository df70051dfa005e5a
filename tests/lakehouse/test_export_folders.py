from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.export_folders import exports_of, held, needless_exports, remove_export, rows_of
from lakehouse.exporting import export
from lakehouse.side_car import Asked

NPY = Asked(formats=("npy",))
LONG_AGO = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture
def two(lake, two_spaces):
    """The places of an export of the legacy and one of the live batch."""
    return [export(lake, batch, NPY)[0] for batch in two_spaces()]


def needless(lake, hours: int = 0) -> list[str]:
    return list(needless_exports(lake, lake.batches.list(), hours))


def changed(lake, batch_id: str) -> None:
    """Let a batch have one row less."""
    rows = lake.read("user_embeddings", batch_id).slice(1)
    lake.open("user_embeddings").delete(f"batch_id = '{batch_id}'")
    lake.append("user_embeddings", rows)
    version = lake.open("user_embeddings").version()
    lake.batches.record(batch_id, tables={"user_embeddings": version})


def test_what_batches_have_is_not_needless(lake, two):
    assert sorted(exports_of(lake)) == sorted(two)
    assert needless(lake) == []


def test_other_rows_make_an_export_needless_and_another_version_does_not(lake, two):
    old, live = (lake.batches.get(name) for name in ("legacy", "live"))
    before = rows_of(lake, old)
    changed(lake, live.batch_id)
    newest = lake.open("user_embeddings").version()
    old = lake.batches.record(old.batch_id, tables={"user_embeddings": newest})
    assert rows_of(lake, old) == before
    assert needless(lake) == [two[1]]


def test_an_export_stays_for_the_hours_asked_for_after_its_batch_changed(lake, two):
    changed(lake, lake.batches.get("live").batch_id)
    assert needless(lake, hours=1) == []
    batches = [one.model_copy(update={"updated_at": LONG_AGO}) for one in lake.batches.list()]
    assert list(needless_exports(lake, batches, 24)) == [two[1]]


def test_those_of_retired_and_unknown_batches_are_needless_at_once(lake, two):
    lake.batches.retire(lake.batches.get("legacy").batch_id)
    lake.write_text(f"{lake.uri}/exports/nobody/v3/users.npy", "")
    assert needless(lake, hours=1_000) == sorted([two[0], f"{lake.uri}/exports/nobody/v3"])


def test_what_a_process_that_died_has_left_is_needless_unless_it_is_being_written(lake, two):
    Path(two[1], "export.json").unlink()
    left = Path(f"{two[0]}.partial")
    left.mkdir()
    with held(str(left)) as ours:
        assert ours
        assert needless(lake) == [two[1]]
        with held(str(left)) as theirs:
            assert not theirs
    assert set(needless(lake)) == {two[1], str(left)}


def test_an_export_is_removed_as_a_whole(lake, two):
    remove_export(lake, two[0])
    assert sorted(exports_of(lake)) == [two[1]]
    assert not Path(two[0]).exists()
