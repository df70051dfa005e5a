import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.testing import assert_allclose

from lakehouse.batch import Batch
from lakehouse.event_codec import Event
from lakehouse.folder_log import FolderReader
from lakehouse.online import StoreError, unpack_vector
from lakehouse.suppression import subject
from ray_apps.nrt_load import SpaceLoader
from ray_apps.nrt_space import NrtSpace, hashed
from schemas.contract import contract
from tests.conftest import ROOT
from tests.ray_apps.conftest import AS_OF, NOW, played

DAY = timedelta(days=1)


def in_batch(nrt, space, *events):
    """What a batch that has all the plays a day later computes: each user's feature row."""
    rows = [event.row for event in events]
    table = pa.Table.from_pylist(
        [
            {**row, **{name: _moment(row[name]) for name in ("played_at", "ingested_at")}}
            for row in rows
        ],
        schema=contract("listens").arrow_schema,
    )
    nrt.lake.append("listens", table)
    version = nrt.lake.open("listens").version()
    parents = {**space.batch.parents, "listens": version}
    later = Batch.model_validate(
        {**space.batch.model_dump(), "parents": parents, "as_of": AS_OF + DAY}
    )
    after = NrtSpace(nrt.lake, later)
    found = {row[0]: row[1] for row in SpaceLoader(nrt.lake, after, nrt.key).states(0)}
    return {
        user_id: after.states.rows([after.bytes.decode(state)], np.array([NOW()])).features
        for user_id, state in found.items()
    }


def _moment(text):
    return datetime.fromisoformat(text)


def since(nrt, *user_ids):
    """What the users played after the batch's moment, as the lakehouse has it."""
    later = (pc.field("played_at") >= AS_OF) & pc.field("user_id").isin(user_ids)
    rows = nrt.lake.rows("listens", later).to_pylist()
    for row in rows:
        for name in ("played_at", "ingested_at"):
            row[name] = row[name].isoformat()
    return [Event("listens", row) for row in rows]


def vector(nrt, space, user_id):
    (found,) = nrt.store.vectors(space.name, [user_id])
    return unpack_vector(found) if found else None


def test_an_event_makes_a_fresher_vector(nrt):
    space = nrt.load()
    before = vector(nrt, space, "u3")
    nrt.send(played("u3", 0, item=9))
    done = nrt.updater(space).step(1.0)
    after = vector(nrt, space, "u3")
    assert (done.events, done.published) == (1, 1)
    assert (before.source, after.source) == ("batch", "nrt")
    assert after.as_of == NOW()
    assert np.linalg.norm(after.values) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(after.values, before.values)


def test_plays_in_any_order_with_repeats_and_a_restart_make_the_row_of_the_batch(nrt):
    space = nrt.load()
    plays = [played("u3", n, item=n) for n in range(12)] + [played("new", n) for n in range(4)]
    rng = np.random.default_rng(0)
    every = plays + since(nrt, "u3")
    stream = [every[i] for i in rng.permutation(len(every) * 2) % len(every)]
    first = nrt.updater(space)
    nrt.send(*stream[:10])
    first.step(1.0, most=7)  # and dies with three of them unread
    first.close()
    nrt.send(*stream[10:])
    second = nrt.updater(space)
    while second.step(0.0).events:
        pass
    expected = in_batch(nrt, space, *plays)
    for user_id in ("u3", "new"):
        assert_allclose(nrt.row(user_id, space), expected[user_id], atol=1e-5)


def test_what_is_read_again_after_a_crash_counts_once(nrt):
    space = nrt.load()
    nrt.send(*(played("u1", n) for n in range(5)))
    for _ in range(2):  # the second begins where the first did: nothing of a position was kept
        updater = nrt.updater(space)
        updater._reader.close()
        updater._reader = FolderReader(nrt.log, "again", lambda _: None)
        updater.step(1.0)
        updater.close()
    (state,) = nrt.store.states(space.name, ["u1"])
    assert space.bytes.decode(state.value).counted == 5 + 5


class Failing:
    """The store, which for a while takes no updates."""

    def __init__(self, store):
        self._store, self.fails = store, True

    def __getattr__(self, name):
        return getattr(self._store, name)

    def update(self, *args):
        if self.fails:
            raise StoreError("its disk is full")
        return self._store.update(*args)


def test_what_the_store_did_not_take_is_given_to_it_again(nrt):
    space = nrt.serve()
    nrt.send(played("u3", 0), played("u3", 1))
    updater = nrt.updater(space)
    updater._store = Failing(nrt.store)
    for _ in range(2):
        with pytest.raises(StoreError):
            updater.step(0.05, most=1)
    updater._store.fails = False
    nrt.send(played("u3", 2))
    while updater.step(0.05).events:
        pass
    updater.close()
    (state,) = nrt.store.states(space.name, ["u3"])
    known = space.bytes.decode(state.value).plays["event"]
    assert np.isin(hashed(pa.array([f"u3-now-{n}" for n in range(3)])), known).all()


def test_picks_make_a_vector_of_somebody_who_has_played_nothing(nrt):
    space = nrt.load()
    pick = {
        "user_id": "fresh",
        "picked_id": "t4",
        "picked_kind": "item",
        "picked_at": AS_OF.isoformat(),
        "completed": True,
    }
    nrt.send(Event("onboarding", pick))
    nrt.updater(space).step(1.0)
    found = vector(nrt, space, "fresh")
    assert (found.source, found.status) == ("cold_start", "cold_start")


def test_a_vector_that_jumps_is_not_published_until_there_is_more_evidence(nrt):
    space = nrt.load()
    before = vector(nrt, space, "u3")
    updater = nrt.updater(space, jump=-0.5)
    nrt.send(played("u3", 0, item=4))
    done = updater.step(1.0)
    assert (done.published, done.held) == (0, {"jumped on little evidence": 1})
    assert np.array_equal(vector(nrt, space, "u3").values, before.values)
    (state,) = nrt.store.states(space.name, ["u3"])
    assert space.bytes.decode(state.value).unpublished == 1
    nrt.send(*(played("u3", n, item=4) for n in range(1, 40)))
    assert updater.step(1.0).published == 1
    assert vector(nrt, space, "u3").source == "nrt"


def test_refused_events_and_taste_edits_change_no_vector(nrt):
    space = nrt.load()
    edit = {"edit_id": "e", "user_id": "u3", "kind": "more", "item_id": "t1"}
    edit |= dict.fromkeys(("edited_at", "ingested_at"), AS_OF.isoformat())
    refused = Event("listens", {"user_id": "u3"}, ("event_id is missing",))
    nrt.send(refused, Event("taste_edits", edit))
    done = nrt.updater(space).step(1.0)
    assert (done.events, done.published) == (2, 0)
    assert sum(nrt.store.position(space.name).values()) > 0


def test_an_erased_person_is_not_brought_back_by_events_in_the_log(nrt):
    space = nrt.load()
    nrt.send(played("u3", 0))
    nrt.store.erase("u3", subject(nrt.key, "u3"), NOW())
    nrt.updater(space).step(1.0)
    assert vector(nrt, space, "u3") is None
    assert nrt.store.states(space.name, ["u3"]) == [None]


def test_a_vector_expires_where_it_is_to_be_kept_for_some_days(nrt):
    space = nrt.load()
    nrt.send(played("u3", 0))
    nrt.updater(space, keep_days=2.0).step(1.0)
    two_days = 2 * 86_400_000_000
    for late, there in ((two_days - 1, True), (two_days, False)):
        found = nrt.store.vectors(space.name, ["u3"], now=NOW() + late)
        assert (found[0] is not None) is there


def test_the_moment_can_be_the_users_last_event(nrt):
    space = nrt.load()
    nrt.send(played("u3", 7))
    nrt.updater(space, by_events=True).step(1.0)
    assert vector(nrt, space, "u3").as_of < NOW()


REPLICA = """
import sys
from pathlib import Path

from lakehouse.folder_log import FolderReader
from lakehouse.online import open_store
from lakehouse.storage import Lakehouse
from lakehouse.suppression import erasure_key
from ray_apps.nrt_gate import VectorGate
from ray_apps.nrt_space import NrtSpace, hashed
from ray_apps.nrt_updates import Serving, SpaceUpdater

lake, store, log = Lakehouse(sys.argv[1]), open_store(sys.argv[2]), Path(sys.argv[3])
space, reader = NrtSpace(lake, lake.batches.get("live")), FolderReader(log, "all", lambda _: None)
updater = SpaceUpdater(space, store, reader, Serving(VectorGate(2.0), erasure_key(lake)))
print("ready", flush=True)
sys.stdin.readline()
while updater.step(0.0, most=3).events:
    pass
"""


def test_two_replicas_update_one_user_at_once_and_nothing_is_lost(nrt):
    space = nrt.load()
    plays = [played("u3", n, item=n % 50) for n in range(60)]
    for number in range(2):
        nrt.log = nrt.folder / f"events-{number}"
        nrt.send(*plays[number::2])
    replicas = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", REPLICA, nrt.lake.uri),
                *(str(nrt.folder / "online"), str(nrt.folder / f"events-{number}")),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(2)
    ]
    assert [replica.stdout.readline() for replica in replicas] == [b"ready\n"] * 2
    for replica in replicas:
        replica.communicate(b"\n")
        assert replica.returncode == 0
    (state,) = nrt.store.states(space.name, ["u3"])
    assert space.bytes.decode(state.value).counted == 5 + 60
    nrt.log = nrt.folder / "events"
    nrt.send(*since(nrt, "u3"))
    nrt.updater(space).step(1.0)
    expected = in_batch(nrt, space, *plays)
    assert_allclose(nrt.row("u3", space), expected["u3"], atol=1e-5)


def test_events_come_from_any_log_that_keeps_its_promise(nrt):
    """Kafka's reader gives the same; here one that gives everything twice, as it may."""
    space = nrt.load()
    nrt.send(*(played("u3", n) for n in range(6)))

    class Twice(FolderReader):
        def poll(self, most, wait):
            found = super().poll(most, wait)
            return [*found, *found]

    updater = nrt.updater(space)
    updater.close()
    updater._reader = Twice(nrt.log, "twice", lambda _: None)
    updater.step(1.0)
    (state,) = nrt.store.states(space.name, ["u3"])
    assert space.bytes.decode(state.value).counted == 5 + 6
