"""What both stores promise: each test runs on a folder and on a real Redis."""

import os
import subprocess
import sys
import time
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lakehouse.online import (
    SpaceSize,
    State,
    StoreError,
    Update,
    Vector,
    open_store,
    pack_vector,
    unpack_vector,
)
from schemas.errors import InputError
from tests.conftest import ROOT
from tests.lakehouse.redis_server import RedisServer

SPACE = "20261123-101500-ab12@1763892900000000"
OTHER = "20261124-101500-cd34@1763979300000000"
WORKER = """
import sys
from lakehouse.online import Update, open_store

def added(store, users, position):
    stored = store.states(sys.argv[2], users)
    updates = [
        Update(user, user, state.version if state else 0,
               b"%d" % (int(state.value if state else 0) + 1), None)
        for user, state in zip(users, stored)
    ]
    return all(store.update(sys.argv[2], updates, position))
"""
ADDS = """
store, done = open_store(sys.argv[1]), 0
while done < 200:
    done += added(store, [f"u{done % 3}"], {sys.argv[3]: done + 1})
"""
NEVER_ENDS = """
store = open_store(sys.argv[1])
while True:
    before = store.position(sys.argv[2]).get("log", 0)
    assert added(store, ["u0", "u1", "u2"], {"log": before + 1})
    print("written", flush=True)
"""


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture(params=["folder", "redis"])
def url(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "store")
    server = request.getfixturevalue("redis_server")
    with server.client() as client:
        client.flushall()
    return server.url


@pytest.fixture
def store(url):
    opened = open_store(url)
    yield opened
    opened.close()


def worker(code: str, url: str, *more: str) -> subprocess.Popen:
    """A process that writes to a store."""
    command = [sys.executable, "-c", WORKER + code, url, SPACE, *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE)


def vector(as_of: int = 1, expires_at: int = 0, value: float = 1.0) -> bytes:
    return pack_vector(Vector(np.full(3, value), as_of, expires_at, "nrt", "established"))


def update(user_id="ann", version=0, state=b"s", vector=None, subject=None) -> Update:
    return Update(user_id, subject or f"hash of {user_id}", version, state, vector)


def as_of(record: bytes | None) -> int | None:
    return None if record is None else unpack_vector(record).as_of


def test_a_vector_is_the_same_after_it_was_packed():
    values = np.random.default_rng(0).normal(size=128).astype(np.float32)
    before = Vector(values, 1_763_892_900_000_000, 2**62, "cold_start", "cold_start")
    record = pack_vector(before)
    assert len(record) == 20 + 4 * 128
    after = unpack_vector(record)
    assert_array_equal(after.values, values)
    assert after.values.dtype == np.float32
    assert after[1:] == before[1:]


def test_half_floats_take_half_the_bytes_and_come_back_as_floats():
    values = np.linspace(-1, 1, 128)
    record = pack_vector(Vector(values, 1, 0, "batch", "established"), "float16")
    assert len(record) == 20 + 2 * 128
    after = unpack_vector(record).values
    assert after.dtype == np.float32
    assert_allclose(after, values, atol=1e-3)


@pytest.mark.parametrize("values", [[np.nan], [[1.0]], [1e300]])
def test_what_is_no_row_of_finite_numbers_is_not_packed(values):
    with pytest.raises(InputError, match="no row of finite float32"):
        pack_vector(Vector(np.array(values), 1, 0, "nrt", "established"))


def test_what_float16_cannot_hold_is_not_packed():
    with pytest.raises(InputError, match="finite float16"):
        pack_vector(Vector(np.array([70_000.0]), 1, 0, "nrt", "established"), "float16")


def test_a_moment_before_1970_is_not_packed():
    with pytest.raises(InputError, match="before 1970"):
        vector(as_of=-1)


@pytest.mark.parametrize("record", [b"short", vector()[:16] + b"\x09" + vector()[17:]])
def test_a_record_of_another_form_is_refused_and_not_misread(record):
    with pytest.raises(StoreError, match="is not of form 1"):
        unpack_vector(record)


def test_an_empty_store_knows_nothing(store):
    assert store.vectors(SPACE, ["ann"]) == [None]
    assert store.states(SPACE, ["ann", "bob"]) == [None, None]
    assert store.states(SPACE, []) == store.vectors(SPACE, []) == store.erased([]) == []
    assert store.position(SPACE) == {}
    assert store.spaces() == []
    assert store.note("live") is None


def test_what_was_written_is_read_in_the_order_asked_for(store):
    new = [update("ann", state=b"a", vector=vector(1)), update("bob", state=b"b")]
    assert store.update(SPACE, new, {"p0": 7}) == [True, True]
    assert store.states(SPACE, ["bob", "eve", "ann"]) == [State(1, b"b"), None, State(1, b"a")]
    assert store.vectors(SPACE, ["bob", "ann"]) == [None, vector(1)]
    assert store.position(SPACE) == {"p0": 7}


def test_spaces_are_apart(store):
    store.update(SPACE, [update(state=b"1")], {"p0": 1})
    store.update(OTHER, [update(state=b"2")], {"p0": 2})
    assert store.spaces() == [SPACE, OTHER]
    assert store.states(SPACE, ["ann"]) == [State(1, b"1")]
    assert store.position(OTHER) == {"p0": 2}


@pytest.mark.parametrize("user_id", ["", "ä:v:*", "a" * 300, "b" * 1000, "é" * 500, "a\x00b"])
def test_any_text_may_be_a_user_id(store, user_id):
    store.update(SPACE, [update(user_id, state=b"own")], {})
    store.update(SPACE, [update(user_id + "x", state=b"another's")], {})
    assert store.states(SPACE, [user_id]) == [State(1, b"own")]
    assert store.erase(user_id, "hash", 1) == 1
    assert store.states(SPACE, [user_id, user_id + "x"]) == [None, State(1, b"another's")]


def test_a_large_state_comes_back(store):
    large = os.urandom(40_000)
    store.update(SPACE, [update(state=large)], {})
    assert store.states(SPACE, ["ann"]) == [State(1, large)]


def test_a_state_that_somebody_else_has_written_meanwhile_is_refused_with_its_vector(store):
    store.update(SPACE, [update(state=b"first")], {"p0": 1})
    late = [
        update(version=0, state=b"late", vector=vector(9)),
        update("bob", state=b"in time"),
    ]
    assert store.update(SPACE, late, {"p0": 2}) == [False, True]
    assert store.states(SPACE, ["ann", "bob"]) == [State(1, b"first"), State(1, b"in time")]
    assert store.vectors(SPACE, ["ann"]) == [None]
    assert store.position(SPACE) == {"p0": 1}


def test_of_two_updates_of_a_user_at_once_the_second_is_refused(store):
    assert store.update(SPACE, [update(state=b"1"), update(state=b"2")], {}) == [True, False]
    assert store.states(SPACE, ["ann"]) == [State(1, b"1")]


def test_a_version_that_was_never_stored_is_refused(store):
    assert store.update(SPACE, [update(version=1)], {}) == [False]


def test_a_vector_that_is_not_newer_leaves_the_stored_one_and_its_state_is_written(store):
    store.update(SPACE, [update(vector=vector(5, value=1.0))], {})
    store.update(SPACE, [update(version=1, state=b"2", vector=vector(5, value=2.0))], {})
    assert store.vectors(SPACE, ["ann"]) == [vector(5, value=1.0)]
    assert store.states(SPACE, ["ann"]) == [State(2, b"2")]


def test_positions_are_merged_and_never_go_back(store):
    store.update(SPACE, [], {"p0": 5, "p1": 0})
    store.update(SPACE, [], {"p0": 4, "topic-3": 2**40})
    assert store.position(SPACE) == {"p0": 5, "p1": 0, "topic-3": 2**40}


def test_an_expired_vector_is_not_read(store):
    end = time.time_ns() // 1_000 + 3_600_000_000
    store.update(SPACE, [update(vector=vector(1, expires_at=end))], {})
    assert as_of(*store.vectors(SPACE, ["ann"])) == 1
    assert as_of(*store.vectors(SPACE, ["ann"], now=end - 1)) == 1
    assert store.vectors(SPACE, ["ann"], now=end) == [None]


def test_a_vector_that_had_expired_before_it_was_written_is_not_read(store):
    store.load(SPACE, [("ann", b"s", vector(1, expires_at=2))])
    assert store.vectors(SPACE, ["ann"]) == [None]
    assert store.states(SPACE, ["ann"]) == [State(1, b"s")]


def test_a_load_writes_states_only_where_there_are_none_and_vectors_only_where_newer(store):
    store.update(SPACE, [update(state=b"has seen events", vector=vector(5))], {"p0": 3})
    rows = [
        ("ann", b"of the batch", vector(4)),
        ("bob", b"of the batch", vector(4)),
        ("eve", None, vector(4)),
        ("dan", b"of the batch", None),
    ]
    for _ in range(2):
        assert store.load(SPACE, iter(rows)) == 4
    users = ["ann", "bob", "eve", "dan"]
    batch = State(1, b"of the batch")
    assert store.states(SPACE, users) == [State(1, b"has seen events"), batch, None, batch]
    assert list(map(as_of, store.vectors(SPACE, users))) == [5, 4, 4, None]
    assert store.position(SPACE) == {"p0": 3}


def test_a_load_of_many_rows_writes_them_all(store):
    users = [f"u{number}" for number in range(2_345)]
    assert store.load(SPACE, ((user, user.encode(), vector()) for user in users)) == 2_345
    assert store.states(SPACE, users) == [State(1, user.encode()) for user in users]
    assert store.vectors(SPACE, users) == [vector()] * 2_345


def test_a_note_is_set_only_by_who_knows_what_it_says(store):
    assert store.set_note("live", b"one", None)
    assert not store.set_note("live", b"two", None)
    assert not store.set_note("live", b"two", b"")
    assert store.set_note("live", b"", b"one")
    assert store.note("live") == b""
    assert not store.set_note("live", b"three", None)
    assert store.set_note("live", b"three", b"")


def test_a_user_is_erased_from_all_spaces_and_an_update_that_was_under_way_is_dropped(store):
    for space in (SPACE, OTHER):
        store.load(space, [("ann", b"s", vector(1)), ("bob", b"s", vector(1))])
    under_way = update(version=1, state=b"brings her back", vector=vector(2))
    assert store.erase("ann", under_way.subject, at=1) == 4
    assert store.erase("ann", under_way.subject, at=2) == 0
    assert store.erased([under_way.subject, "hash of bob"]) == [True, False]
    assert store.update(SPACE, [under_way, update("bob", 1)], {"p0": 1}) == [True, True]
    assert store.position(SPACE) == {"p0": 1}
    assert store.states(SPACE, ["ann", "bob"]) == [None, State(2, b"s")]
    assert store.vectors(SPACE, ["ann"]) == [None]


def test_a_load_leaves_out_who_was_erased(store):
    store.erase("ann", "hash of ann", at=1)
    rows = [("ann", b"s", vector()), ("bob", b"s", vector())]
    assert store.load(SPACE, rows, subject_of=lambda user_id: f"hash of {user_id}") == 2
    assert store.states(SPACE, ["ann", "bob"]) == [None, State(1, b"s")]
    assert store.vectors(SPACE, ["ann", "bob"]) == [None, vector()]


def test_a_space_that_is_dropped_leaves_nothing_and_no_other_space_changes(store):
    rows = [(f"u{number}", b"s", vector()) for number in range(1_500)]
    for space in (SPACE, OTHER):
        store.load(space, rows)
        store.update(space, [], {"p0": 1})
    for _ in range(2):
        store.drop(SPACE)
    assert store.spaces() == [OTHER]
    assert store.states(SPACE, ["u0"]) == store.vectors(SPACE, ["u0"]) == [None]
    assert store.position(SPACE) == {}
    assert store.size() == {OTHER: SpaceSize(1_500, 1_500 * 32, 1_500 * 9)}


def test_a_space_that_was_dropped_may_be_made_again(store):
    store.update(SPACE, [update(state=b"old")], {"p0": 9})
    store.drop(SPACE)
    assert store.update(SPACE, [update(version=1)], {}) == [False]
    assert store.update(SPACE, [update(state=b"new")], {"p0": 1}) == [True]
    assert store.position(SPACE) == {"p0": 1}


def test_sizes_count_users_once(store):
    store.load(SPACE, [("ann", b"12", vector()), ("bob", b"1", None), ("eve", None, vector())])
    store.load(OTHER, [("ann", b"12", None)])
    assert store.size() == {SPACE: SpaceSize(3, 2 * 32, 10 + 9), OTHER: SpaceSize(1, 0, 10)}


@pytest.mark.parametrize("name", ["", "a:v", "a b", "ä", "*", "x" * 201, "a\n"])
def test_a_space_or_note_with_another_name_is_refused(store, name):
    asks = [
        lambda: store.vectors(name, ["ann"]),
        lambda: store.update(name, [], {}),
        lambda: store.load(name, [("ann", b"", None)]),
        lambda: store.position(name),
        lambda: store.drop(name),
        lambda: store.note(name),
        lambda: store.set_note(name, b"", None),
    ]
    for ask in asks:
        with pytest.raises(InputError, match="cannot name a space or a note"):
            ask()


def test_a_store_that_is_in_order_can_be_written(store):
    store.check_writable()
    assert store.spaces() == []
    assert store.size() == {}


numbers = count()
writes = st.tuples(st.sampled_from(["load", "update"]), st.integers(0, 5), st.integers(0, 9))


@pytest.fixture(scope="module", params=["folder", "redis"])
def one_store(request, tmp_path_factory):
    """A store for many examples, each of which has a space of its own."""
    if request.param == "folder":
        return open_store(str(tmp_path_factory.mktemp("store")))
    return open_store(request.getfixturevalue("redis_server").url)


@given(st.lists(writes, min_size=1, max_size=8))
@settings(max_examples=40)
def test_in_whatever_order_vectors_are_written_the_newest_stays(one_store, written):
    space = f"space-{next(numbers)}"
    for how, moment, value in written:
        record = vector(moment, value=value)
        if how == "load":
            one_store.load(space, [("ann", None, record)])
        else:
            (state,) = one_store.states(space, ["ann"])
            version = state.version if state else 0
            assert one_store.update(space, [update(version=version, vector=record)], {}) == [True]
    newest = max(written, key=lambda write: write[1])  # the first of the newest
    assert one_store.vectors(space, ["ann"]) == [vector(newest[1], value=newest[2])]


def test_processes_that_add_to_the_same_users_lose_nothing(url, store):
    processes = [worker(ADDS, url, f"p{number}") for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    counts = [int(state.value) for state in store.states(SPACE, ["u0", "u1", "u2"])]
    assert counts == [4 * 67, 4 * 67, 4 * 66]
    assert store.position(SPACE) == {f"p{number}": 200 for number in range(4)}


def test_a_process_that_is_killed_leaves_states_and_position_that_agree(url, store):
    chance, before = np.random.default_rng(0), 0
    for _ in range(5):
        process = worker(NEVER_ENDS, url)
        assert process.stdout.readline() == b"written\n"
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.communicate()
        seen = store.position(SPACE)["log"]
        assert [int(one.value) for one in store.states(SPACE, ["u0", "u1", "u2"])] == [seen] * 3
        assert seen > before
        before = seen


@pytest.mark.parametrize(("url", "library"), [("folder", "lmdb"), ("redis://127.0.0.1", "redis")])
def test_without_its_library_a_store_says_what_to_install(tmp_path, monkeypatch, url, library):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "lakehouse.online_lmdb", raising=False)
    monkeypatch.delitem(sys.modules, "lakehouse.online_redis", raising=False)
    with pytest.raises(InputError, match=rf"{library}: pip install 'tasteprint\[serve\]'"):
        open_store(url)
