import threading

import pytest

from lakehouse.online import open_store
from ray_apps.nrt_directory import (
    Directory,
    RecentDirectory,
    batch_of,
    change_directory,
    read_directory,
)
from schemas.errors import BatchError

OLD, NEW = "20260101-000000-aaaa@10", "20260102-000000-bbbb@20"
BOTH = Directory(live=NEW, legacy=OLD, stages={OLD: "serving", NEW: "serving"})


@pytest.fixture
def store(tmp_path):
    found = open_store(str(tmp_path / "online"))
    yield found
    found.close()


def test_words_and_ids_name_spaces():
    assert BOTH.space_of("live") == NEW
    assert BOTH.space_of("legacy") == OLD
    assert BOTH.space_of(batch_of(OLD)) == OLD


def test_of_a_batch_that_was_refreshed_the_newest_rows_answer():
    refreshed = "20260102-000000-bbbb@30"
    found = BOTH.model_copy(update={"stages": {**BOTH.stages, refreshed: "serving"}})
    assert found.space_of(batch_of(NEW)) == refreshed
    assert found.space_of("live") == NEW


@pytest.mark.parametrize("batch", ["legacy", "20260103-000000-cccc", NEW, ""])
def test_what_is_not_served_is_an_error_that_says_what_is(batch):
    only = Directory(live=NEW, stages={NEW: "serving", "20260103-000000-cccc@1": "following"})
    with pytest.raises(BatchError, match="20260102-000000-bbbb"):
        only.space_of(batch)


def test_a_store_without_a_directory_serves_nothing(store):
    assert read_directory(store) == Directory()
    with pytest.raises(BatchError):
        RecentDirectory(store).get().space_of("live")


def test_changes_of_many_at_once_are_all_made(store):
    def add(name):
        def change(now):
            return now.model_copy(update={"stages": {**now.stages, name: "loading"}})

        change_directory(store, change)

    threads = [threading.Thread(target=add, args=(f"s@{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_directory(store).stages) == 12
