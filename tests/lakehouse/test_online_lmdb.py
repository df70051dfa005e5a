import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from lakehouse import online_lmdb
from lakehouse.online import StoreError, Update
from lakehouse.online_lmdb import LmdbStore
from tests.conftest import ROOT
from tests.lakehouse.small_disk import small_disk

MEGABYTE = 2**20
NOBODY = 65_534
STATE = b"s" * 4_000
READS = """
import sys, time
from lakehouse.online_lmdb import LmdbStore
with LmdbStore(sys.argv[1])._transaction():
    print("reading", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def store(folder):
    opened = LmdbStore(folder)
    yield opened
    opened.close()


@pytest.fixture
def open_folder():
    """A folder that every user may look into, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield made


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", megabytes=8) as mounted:
        yield mounted


def rows(first: int, number: int = 100):
    return [(f"u{user}", STATE, None) for user in range(first, first + number)]


def fill(store) -> int:
    """Write a hundred users at a time until no more go in; returns how many did."""

    def forever() -> None:
        while True:
            store.load("one", rows(users(store)))

    with pytest.raises(StoreError, match=r"full.*(raise --store-size|free space)"):
        forever()
    return users(store)


def users(store, space: str = "one") -> int:
    return store.size()[space].users if space in store.spaces() else 0


def in_child(action) -> int:
    """The exit status of a process that was forked off to do something."""
    child = multiprocessing.get_context("fork").Process(target=action)
    child.start()
    child.join()
    return child.exitcode


def test_a_full_store_says_what_to_do_and_has_nothing_half_written(folder):
    store = LmdbStore(folder, map_size=4 * MEGABYTE)
    written = fill(store)
    assert written > 100
    assert written % 100 == 0
    assert store.states("one", ["u0"])[0].value == STATE
    refused = Update("new", "new", 0, bytes(MEGABYTE), None)
    with pytest.raises(StoreError, match=r"is full: raise --store-size"):
        store.update("one", [refused], {"p0": 1})
    assert store.position("one") == {}


def test_a_full_store_takes_rows_again_after_a_space_was_dropped(folder):
    store = LmdbStore(folder, map_size=4 * MEGABYTE)
    fill(store)
    store.drop("one")
    store.load("two", rows(0))
    assert users(store, "two") == 100


def test_a_full_store_takes_more_when_it_is_opened_with_a_larger_size(folder):
    store = LmdbStore(folder, map_size=4 * MEGABYTE)
    written = fill(store)
    store.close()
    larger = LmdbStore(folder, map_size=8 * MEGABYTE)
    larger.load("one", rows(written))
    assert users(larger) == written + 100


def test_a_process_with_a_smaller_size_is_told_to_take_the_larger(folder):
    small = LmdbStore(folder, map_size=MEGABYTE)

    def grow() -> None:
        small.close()
        LmdbStore(folder, map_size=16 * MEGABYTE).load("one", rows(0, 1_000))

    assert in_child(grow) == 0
    with pytest.raises(StoreError, match="made larger by another process"):
        small.states("one", ["u0"])


def test_a_full_disk_says_so_and_has_nothing_half_written(disk):
    ballast = disk.folder / "ballast"
    ballast.write_bytes(bytes(2 * MEGABYTE))
    store = LmdbStore(str(disk.folder / "store"))
    written = fill(store)
    assert written % 100 == 0
    ballast.unlink()
    store.load("one", rows(written))
    store.check_writable()
    assert users(store) == written + 100


def test_a_disk_that_becomes_read_only_is_read_on(disk):
    folder = str(disk.folder / "store")
    LmdbStore(folder).load("one", rows(0))
    disk.remount("ro")
    store = LmdbStore(folder)
    assert store.states("one", ["u0"])[0].value == STATE
    for write in (store.check_writable, lambda: store.load("one", rows(0))):
        with pytest.raises(StoreError, match="can only be read: let this user write"):
            write()
    disk.remount("rw")
    store.check_writable()
    store.load("one", rows(100))
    assert users(store) == 200


def test_a_folder_that_cannot_be_made_is_told_of(disk):
    disk.remount("ro")
    with pytest.raises(StoreError, match="can only be read"):
        LmdbStore(str(disk.folder / "store"))


def test_files_that_this_user_may_not_write_are_read_on(open_folder):
    LmdbStore(open_folder).load("one", rows(0))
    Path(open_folder, "data.mdb").chmod(0o444)
    Path(open_folder, "lock.mdb").chmod(0o666)

    def read() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        store = LmdbStore(open_folder)
        assert store.states("one", ["u0"])[0].value == STATE
        with pytest.raises(StoreError, match="can only be read"):
            store.check_writable()

    assert in_child(read) == 0


def test_a_file_in_the_place_of_the_folder_is_told_of(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file cannot be used"):
        LmdbStore(str(tmp_path / "file"))


def test_a_store_that_was_opened_before_a_fork_is_used_by_both(store):
    store.load("one", rows(0))

    def write() -> None:
        assert store.states("one", ["u0"])[0].value == STATE
        store.load("one", rows(100))

    assert in_child(write) == 0
    store.load("one", rows(200))
    assert in_child(write) == 0
    assert users(store) == 300


def test_stores_of_one_folder_share_what_their_process_has_open(folder, store):
    other = LmdbStore(folder + "/../store")
    other.load("one", rows(0))
    other.close()
    assert users(store) == 100
    other.load("one", rows(100))  # opens it again
    assert users(store) == 200


def test_threads_read_and_write_at_once(store):
    store.load("one", rows(0))
    failed = []

    def work(number: int) -> None:
        try:
            for version in range(20):
                update = Update(f"t{number}", "nobody", version, b"%d" % version, None)
                assert store.update("one", [update], {}) == [True]
                assert store.states("one", ["u1", f"t{number}"])[1].version == version + 1
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_reader_that_was_killed_holds_no_pages_back(folder, store):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    reader = subprocess.Popen(
        [sys.executable, "-c", READS, folder], stdout=subprocess.PIPE, text=True, env=env
    )
    assert reader.stdout.readline() == "reading\n"
    readers = store._open().env.readers
    assert str(reader.pid) in readers()
    reader.send_signal(signal.SIGKILL)
    reader.communicate()
    store.check_writable()
    assert str(reader.pid) not in readers()


def test_a_drop_that_was_broken_off_ends_with_the_next_and_erasures_reach_what_is_left(
    store, monkeypatch
):
    monkeypatch.setattr(online_lmdb, "REMOVED", 30)
    store.load("one", rows(0))
    store.load("two", rows(0))
    steps = iter([None])
    remove_some = store._remove_some

    def broken_off(name: bytes) -> bool:
        if next(steps, "killed"):
            raise KeyboardInterrupt
        return remove_some(name)

    monkeypatch.setattr(store, "_remove_some", broken_off)
    with pytest.raises(KeyboardInterrupt):
        store.drop("one")
    monkeypatch.undo()
    assert store.spaces() == ["two"]
    assert store.erase("u99", "hash of u99", 1) == 2
    store.drop("two")
    with store._transaction() as txn:
        assert list(txn.items(txn.tables.states)) == list(txn.items(txn.tables.spaces)) == []


def test_a_space_made_again_during_its_drop_keeps_what_is_new(store):
    store.load("one", rows(0))
    with store._transaction(write=True) as txn:
        txn.bury("one")  # and the process that drops it is killed
    store.load("one", rows(50, number=1))
    store.drop("another")
    assert users(store) == 1
