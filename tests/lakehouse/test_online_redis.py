import threading
import time
import uuid
from itertools import count, takewhile

import numpy as np
import pytest

from lakehouse.online import State, StoreError, Update, Vector, pack_vector
from lakehouse.online_redis import RedisStore
from schemas.errors import InputError
from tests.lakehouse.redis_server import RedisServer
from tests.lakehouse.small_disk import small_disk

SECRET = "correct-horse"  # noqa: S105 - of a server on loopback


@pytest.fixture
def server(tmp_path):
    started = RedisServer(tmp_path).start()
    yield started
    started.kill()


@pytest.fixture
def store(server):
    opened = RedisStore(server.url)
    yield opened
    opened.close()


@pytest.fixture
def beside(server):
    with server.client() as client:
        yield client


def update(version: int = 0, state: bytes = b"s", expires_at: int = 0) -> Update:
    vector = pack_vector(Vector(np.ones(2), version + 1, expires_at, "nrt", "established"))
    return Update("ann", "hash of ann", version, state, vector)


def in_thread(action) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def until_writable(store, patience: float = 60.0) -> None:
    """Wait for a server that looks at its disk once a second."""
    give_up = time.monotonic() + patience
    while True:
        try:
            return store.check_writable()
        except StoreError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def killed_and_started(server, times: int) -> None:
    """Kill a server while it is being written to, and bring it back on its port."""
    for _ in range(times):
        time.sleep(0.1)
        server.kill()
        server.start()


def test_updates_go_on_through_kills_of_the_server_and_each_is_made_once(server, store):
    answers, ended = [], threading.Event()

    def add() -> None:
        while not ended.is_set():
            version = len(answers)
            answers.append(store.update("one", [update(version)], {"p0": version + 1}))

    thread = in_thread(add)
    killed_and_started(server, times=3)
    ended.set()
    thread.join()
    assert answers == [[True]] * len(answers)
    assert len(answers) > 3
    assert store.states("one", ["ann"]) == [State(len(answers), b"s")]
    assert store.position("one") == {"p0": len(answers)}


def test_a_load_goes_on_through_kills_of_the_server_and_writes_every_row(server, store):
    ended, loaded = threading.Event(), []

    def rows():
        for number in takewhile(lambda _: not ended.is_set(), count()):
            yield f"u{number}", b"%d" % number, None

    thread = in_thread(lambda: loaded.append(store.load("one", rows())))
    killed_and_started(server, times=3)
    ended.set()
    thread.join()
    users = [f"u{number}" for number in range(*loaded)]
    assert len(users) > 750
    assert store.states("one", users) == [State(1, user[1:].encode()) for user in users]


def test_a_write_that_is_asked_again_is_answered_as_before_and_changes_nothing(store, monkeypatch):
    once = uuid.uuid4()
    monkeypatch.setattr(uuid, "uuid4", lambda: once)
    for _ in range(2):
        assert store.update("one", [update()], {"p0": 1}) == [True]
    assert store.states("one", ["ann"]) == [State(1, b"s")]
    monkeypatch.undo()
    assert store.update("one", [update()], {"p0": 2}) == [False]


def test_a_note_that_is_asked_again_is_answered_as_before(store, monkeypatch):
    once = uuid.uuid4()
    monkeypatch.setattr(uuid, "uuid4", lambda: once)
    assert [store.set_note("live", b"one", None) for _ in range(2)] == [True, True]
    monkeypatch.undo()
    assert not store.set_note("live", b"one", None)


def test_a_server_that_does_not_answer_is_told_of_in_time_and_without_the_password(server):
    server.kill()
    url = f"redis://me:{SECRET}@127.0.0.1:{server.port}/0"
    with pytest.raises(StoreError, match=rf"127.0.0.1:{server.port} does not answer") as told:
        RedisStore(url, patience=0.3)
    assert SECRET not in str(told.value)


def test_a_wrong_password_is_told_of_at_once_and_never_shown(tmp_path):
    server = RedisServer(tmp_path, "--requirepass", "another").start()
    try:
        for user in (f":{SECRET}@", ""):
            with pytest.raises(StoreError, match="refuses this user") as told:
                RedisStore(f"redis://{user}127.0.0.1:{server.port}/0")
            assert SECRET not in str(told.value)
        RedisStore(f"redis://:another@127.0.0.1:{server.port}/0").check_writable()
    finally:
        server.kill()


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}/x@host:port/0", f"rediss://:{SECRET}@host:x/0"]
)
def test_a_url_that_is_none_is_refused_without_the_password(url):
    with pytest.raises(InputError, match="redis://HOST:PORT/DATABASE") as told:
        RedisStore(url)
    assert SECRET not in str(told.value)


def test_a_socket_of_the_same_machine_is_a_store_too(tmp_path):
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "socket")).start()
    try:
        store = RedisStore(f"unix://{tmp_path}/socket?db=1")
        assert store.update("one", [update()], {}) == [True]
        assert RedisStore(server.url).spaces() == []
    finally:
        server.kill()


def test_a_replica_is_read_and_not_written(store, beside):
    store.update("one", [update()], {})
    beside.replicaof("127.0.0.1", "1")
    for write in (store.check_writable, lambda: store.update("one", [update(1)], {})):
        with pytest.raises(StoreError, match="is a replica"):
            write()
    assert store.states("one", ["ann"]) == [State(1, b"s")]


def test_a_full_server_is_read_on_and_has_nothing_half_written(store, beside):
    store.update("one", [update()], {"p0": 1})
    beside.config_set("maxmemory", "1")
    writes = [
        store.check_writable,
        lambda: store.update("one", [update(1)], {"p0": 2}),
        lambda: store.load("two", [("ann", b"s", None)]),
    ]
    for write in writes:
        with pytest.raises(StoreError, match="is full: raise its maxmemory"):
            write()
    assert store.states("one", ["ann"]) == [State(1, b"s")]
    assert store.position("one") == {"p0": 1}
    assert store.spaces() == ["one"]


def test_a_server_whose_disk_is_full_is_told_of_and_written_again_later(tmp_path):
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        ballast = disk.folder / "ballast"
        ballast.write_bytes(bytes(2**20))
        server = RedisServer(disk.folder, "--appendfsync", "everysec").start()  # else it ends
        try:
            store = RedisStore(server.url)
            many = ((f"u{number}", bytes(1_000), None) for number in range(10_000))
            with pytest.raises(StoreError, match="cannot write its own disk: free space"):
                store.load("one", many)
            ballast.unlink()
            until_writable(store)
        finally:
            server.kill()


def test_a_server_that_may_throw_states_away_is_refused(store, beside):
    beside.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match=r"forgets what it has no room for.*noeviction"):
        store.check_writable()


def test_a_vector_leaves_the_server_when_it_expires_and_not_before(store, beside):
    end = time.time_ns() // 1_000 + 3_600_000_001
    store.update("one", [update(expires_at=end)], {})
    assert beside.pexpiretime("tp:one:v:ann") == end // 1_000 + 1
    store.load("one", [("bob", b"s", update().vector)])
    assert beside.pexpiretime("tp:one:v:bob") == -1


def test_scripts_that_the_server_forgot_are_sent_again(store, beside):
    store.update("one", [update()], {})
    beside.script_flush()
    assert store.update("one", [update(1)], {}) == [True]


def test_moments_are_compared_as_numbers(store):
    for moment in (127, 128, 255, 256, 2**32, 2**52 - 1, 2**52):
        record = pack_vector(Vector(np.ones(2), moment, 0, "nrt", "established"))
        store.load("one", [("ann", None, record)])
        assert store.vectors("one", ["ann"]) == [record]


def test_what_is_written_while_a_space_is_dropped_is_found_by_the_drop(store, beside, monkeypatch):
    store.load("one", [("ann", b"s", None)])
    keys, late = store._keys, ["bob", "eve"]

    def with_late_writers(space: str):
        found = list(keys(space))
        yield from found
        if late and not found:
            store.load(space, [(late.pop(), b"s", None)])

    monkeypatch.setattr(store, "_keys", with_late_writers)
    store.drop("one")
    assert late == store.spaces() == []
    assert beside.keys("tp:one:*") == []
