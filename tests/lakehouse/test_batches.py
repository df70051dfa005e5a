import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from lakehouse.batch import BECOMES, SERVED
from lakehouse.batches import BatchRegistry
from lakehouse.consumers import ConsumerRegistry
from lakehouse.storage import Lakehouse
from lakehouse.vacuum import vacuum
from schemas.contract import contract
from schemas.errors import BatchError

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


LATER = AS_OF + timedelta(days=30)


def open_batch(batches, state="building"):
    batch = batches.open(AS_OF, {"listens": 3, "items": 1}, "settings", "0.1.0")
    match state:
        case "building":
            return batch
        case "candidate" | "failed":
            return batches.record(batch.batch_id, state=state)
        case "retired":
            return batches.retire(batch.batch_id)
    batches.record(batch.batch_id, state="candidate")
    live = batches.promote(batch.batch_id)
    if state == "legacy":
        batches.promote(open_batch(batches, "candidate").batch_id)
    return live


def states(batches):
    return {batch.batch_id: batch.state for batch in batches.list()}


def meanwhile(batches, monkeypatch, change):
    """Let somebody else change the registry between this one's reading and its writing."""
    read = batches._read

    def read_then_overtaken():
        found = read()
        monkeypatch.undo()
        change(BatchRegistry(batches._lake))
        return found

    monkeypatch.setattr(batches, "_read", read_then_overtaken)


def test_an_empty_lakehouse_has_no_batches(batches):
    assert batches.list() == []
    with pytest.raises(BatchError, match=r"no batch 'live' in .*; there are: none"):
        batches.get("live")


def test_a_batch_pins_its_inputs_and_its_moment(batches):
    opened = open_batch(batches)
    assert opened.state == "building"
    assert batches.get(opened.batch_id) == opened
    assert (opened.parents, opened.as_of) == ({"listens": 3, "items": 1}, AS_OF)
    assert opened.version_of("listens") == 3


def test_a_batch_cannot_be_changed_in_hand(batches):
    with pytest.raises(ValidationError):
        open_batch(batches).state = "live"


def test_what_is_recorded_is_merged_by_name(batches):
    batch = open_batch(batches)
    batches.record(batch.batch_id, tables={"track_vectors": 4}, gates={"track_vectors": "passed"})
    batches.record(batch.batch_id, tables={"user_features": 0}, model_uri="m")
    got = batches.get(batch.batch_id)
    assert got.tables == {"track_vectors": 4, "user_features": 0}
    assert got.gates == {"track_vectors": "passed"}
    assert got.model_uri == "m"
    assert got.updated_at > got.created_at
    assert got.version_of("track_vectors") == 4


def test_a_table_the_batch_does_not_have_is_answered_with_those_it_has(batches):
    with pytest.raises(
        BatchError, match=r"\(building\) has no user_features: it has items, listens"
    ):
        open_batch(batches).version_of("user_features")


def test_a_wrong_record_changes_nothing(batches):
    batch = open_batch(batches)
    with pytest.raises(ValidationError):
        batches.record(batch.batch_id, mood="good")
    with pytest.raises(BatchError, match="becomes lively"):
        batches.record(batch.batch_id, state="lively")
    assert batches.list() == [batch]


def test_unknown_batches_are_answered_with_those_there_are(batches):
    batch = open_batch(batches)
    with pytest.raises(BatchError, match=rf"no batch 'b9' .*: {batch.batch_id} \(building\)"):
        batches.get("b9")
    for change in (batches.promote, batches.record):
        with pytest.raises(BatchError, match="no batch 'b9': see `tasteprint batches list`"):
            change("b9")


def test_a_state_that_many_batches_share_is_no_name(batches):
    open_batch(batches)
    with pytest.raises(BatchError, match="no batch 'building'"):
        batches.get("building")


@pytest.mark.parametrize("state", ["building", "live", "retired", "failed"])
def test_only_what_has_passed_its_gates_is_promoted(batches, state):
    batch = open_batch(batches, state)
    with pytest.raises(BatchError, match=f"is {state}: only a candidate"):
        batches.promote(batch.batch_id)
    assert states(batches) == {batch.batch_id: state}


@pytest.mark.parametrize("state", ["building", "failed"])
def test_a_state_is_reached_from_its_neighbours_alone(batches, state):
    batch = open_batch(batches, "candidate")
    with pytest.raises(BatchError, match=f"can become live or retired, not {state}"):
        batches.record(batch.batch_id, state=state)


def test_nothing_becomes_live_by_being_recorded_so(batches):
    batch = open_batch(batches)
    with pytest.raises(BatchError, match="becomes live by"):
        batches.record(batch.batch_id, state="live")
    assert batches.get(batch.batch_id).state == "building"


def test_the_live_batch_becomes_legacy_in_the_same_commit(batches, lake):
    first, second = (open_batch(batches, "candidate").batch_id for _ in range(2))
    batches.promote(first)
    before = lake.open("batches").version()
    batches.promote(second)
    assert lake.open("batches").version() == before + 1
    assert states(batches) == {first: "legacy", second: "live"}
    assert batches.get("live").batch_id == second
    assert batches.get("legacy").batch_id == first


def test_who_promotes_second_is_told_and_overwrites_nothing(batches, monkeypatch):
    mine, theirs = (open_batch(batches, "candidate").batch_id for _ in range(2))
    meanwhile(batches, monkeypatch, lambda other: other.promote(theirs))
    with pytest.raises(BatchError, match="somebody else changed the batch registry"):
        batches.promote(mine)
    assert states(batches) == {mine: "candidate", theirs: "live"}


def test_who_records_second_tries_again_on_what_the_first_has_written(batches, monkeypatch):
    batch = open_batch(batches).batch_id
    meanwhile(batches, monkeypatch, lambda other: other.record(batch, tables={"items": 7}))
    batches.record(batch, tables={"users": 8})
    assert batches.get(batch).tables == {"items": 7, "users": 8}


PROMOTE = """
import sys, time, pathlib
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from schemas.errors import BatchError
uri, batch_id, gate = sys.argv[1:]
batches = BatchRegistry(Lakehouse(uri))
batches.list()
pathlib.Path(gate, batch_id).touch()
while not pathlib.Path(gate, "open").exists():
    time.sleep(0.001)
try:
    print(batches.promote(batch_id).batch_id)
except BatchError as error:
    print("told:", error)
"""


def test_of_several_processes_that_promote_at_one_moment_those_that_lose_are_told(
    batches, lake, tmp_path
):
    candidates = [open_batch(batches, "candidate").batch_id for _ in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, lake.uri, batch_id, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for batch_id in candidates
    ]
    while len(list(tmp_path.glob("2*"))) < len(candidates):
        assert all(process.poll() is None for process in processes)
    before = lake.open("batches").version()
    (tmp_path / "open").touch()
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    won = [line for line in said if line in candidates]
    # Whoever reads after another's commit promotes on top of it; of two at once one is told.
    assert won
    assert all(line in candidates or "somebody else changed" in line for line in said)
    assert lake.open("batches").version() == before + len(won)
    assert sorted(states(batches).values()).count("live") == 1
    assert sorted(states(batches).values()).count("legacy") == len(won) - 1


def test_two_batches_of_one_second_have_two_ids_though_their_digits_are_drawn_alike(
    batches, monkeypatch
):
    drawn = iter(["aaaa", "aaaa", "bbbb"] * 9)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return AS_OF.astimezone(tz)

    monkeypatch.setattr("lakehouse.batches.datetime", Clock)
    monkeypatch.setattr("lakehouse.batches.secrets.token_hex", lambda _: next(drawn))
    opened = [open_batch(batches).batch_id for _ in range(2)]
    assert opened == ["20260301-000000-aaaa", "20260301-000000-bbbb"]
    assert set(states(batches)) == set(opened)


def test_batches_opened_at_one_moment_are_all_kept(batches):
    batches.list()  # the table is there
    with ThreadPoolExecutor(3) as pool:
        opened = list(pool.map(lambda _: open_batch(batches).batch_id, range(3)))
    assert sorted(states(batches)) == sorted(opened)


def test_rollback_is_the_same_commit_backwards(batches, lake):
    first = open_batch(batches, "legacy").batch_id
    second = batches.get("live").batch_id
    before = lake.open("batches").version()
    assert batches.rollback().batch_id == first
    assert lake.open("batches").version() == before + 1
    assert states(batches) == {first: "live", second: "legacy"}
    assert batches.rollback().batch_id == second


def test_the_legacy_batch_is_the_one_that_was_live_last_whatever_has_changed_since(batches):
    older = open_batch(batches, "legacy").batch_id
    before = batches.get("live").batch_id
    batches.promote(open_batch(batches, "candidate").batch_id)
    batches.begin_refresh(older, LATER, {})
    batches.end_refresh(older, keep=True)
    assert batches.get("legacy").batch_id == before


def test_without_an_earlier_live_batch_there_is_no_way_back(batches):
    open_batch(batches, "live")
    with pytest.raises(BatchError, match="nothing to go back to"):
        batches.rollback()


def test_a_batch_that_was_retired_is_no_way_back(batches):
    first = open_batch(batches, "legacy").batch_id
    batches.retire(first)
    with pytest.raises(BatchError, match="is retired, and can become nothing else"):
        batches.rollback()


def test_promotion_names_who_is_not_ready(batches):
    live, new = open_batch(batches, "live"), open_batch(batches, "candidate")
    for name in ("ranker", "search"):
        batches.move_consumer(name, live.batch_id)
    with pytest.raises(BatchError, match="search is not ready for it; wait"):
        batches.promote(new.batch_id, ready={"ranker"})
    assert states(batches)[live.batch_id] == "live"


def test_who_is_not_ready_keeps_the_legacy_batch_it_was_promised(batches):
    live, new = open_batch(batches, "live"), open_batch(batches, "candidate")
    for name in ("ranker", "search"):
        batches.move_consumer(name, live.batch_id)
    batches.promote(new.batch_id, ready={"ranker"}, legacy_until=LATER)
    assert batches.get("live").consumers == ("ranker",)
    assert batches.get("legacy").consumers == ("search",)
    assert batches.get("legacy").legacy_until == LATER


def test_a_batch_that_somebody_reads_is_not_retired(batches):
    live = open_batch(batches, "live").batch_id
    batches.move_consumer("search", live)
    batches.promote(open_batch(batches, "candidate").batch_id, legacy_until=LATER)
    with pytest.raises(BatchError, match="search still read it"):
        batches.retire(live)
    batches.move_consumer("search", batches.get("live").batch_id)
    assert batches.retire(live).state == "retired"


def test_a_refresh_is_seen_by_those_who_write_it_and_by_readers_at_its_end(batches):
    live = open_batch(batches, "live").batch_id
    batches.begin_refresh(live, LATER, {"listens": 9})
    batches.record(live, tables={"user_embeddings": 5}, gates={"user_embeddings": "passed"})
    assert batches.get(live).as_of == AS_OF
    assert batches.get(live).tables == {}
    assert batches.to_write(live).version_of("user_embeddings") == 5
    assert ("user_embeddings", 5) in batches.get(live).pins()
    ended = batches.end_refresh(live, keep=True)
    assert (ended.as_of, ended.parents["listens"]) == (LATER, 9)
    assert ended.tables == {"user_embeddings": 5}
    assert ended.refresh is None


def test_a_refresh_that_is_dropped_leaves_no_trace(batches):
    live = open_batch(batches, "live").batch_id
    batches.begin_refresh(live, LATER, {"listens": 9})
    with pytest.raises(BatchError, match="under way already"):
        batches.begin_refresh(live, LATER, {})
    assert batches.end_refresh(live, keep=False).parents == {"listens": 3, "items": 1}


def test_what_serves_nobody_is_neither_refreshed_nor_written(batches):
    candidate = open_batch(batches, "candidate").batch_id
    with pytest.raises(BatchError, match="is candidate: it serves nobody"):
        batches.begin_refresh(candidate, LATER, {})
    with pytest.raises(BatchError, match="only a batch that is building is written"):
        batches.to_write(candidate)


def test_pins_move_together(batches):
    ids = [open_batch(batches).batch_id for _ in range(2)]
    batches.repin({"listens": {3: 7}})
    assert [batches.get(name).parents for name in ids] == [{"listens": 7, "items": 1}] * 2


class Life(RuleBasedStateMachine):
    """Anything an operator may do to the registry, in any order."""

    @property
    def batches(self):
        return self.lake.batches

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.lake = Lakehouse(self.folder.name)
        self.consumers = ConsumerRegistry(self.lake)
        self.before = {}
        self.batches.list()

    def teardown(self):
        self.folder.cleanup()

    def attempt(self, change, *arguments, **options):
        """Do it, or be told; what was refused has changed nothing."""
        before = self.batches.list()
        try:
            change(*arguments, **options)
        except BatchError:
            assert self.batches.list() == before

    def some(self, number):
        known = self.batches.list()
        return known[number % len(known)].batch_id

    def has_batches(self):
        return bool(self.batches.list())

    @rule()
    def a_delivery_comes(self):
        row = {"item_id": f"t{self.lake.ensure('items').version()}", "kind": "track"}
        rows = pa.Table.from_pylist([row], schema=contract("items").arrow_schema)
        self.lake.append("items", rows)

    @rule()
    def open_one(self):
        newest = {"items": self.lake.ensure("items").version()}
        self.batches.open(AS_OF, newest, "s", "v")

    @precondition(has_batches)
    @rule(number=st.integers(0, 5), state=st.sampled_from(["candidate", "failed", "building"]))
    def record(self, number, state):
        self.attempt(self.batches.record, self.some(number), state=state)

    @precondition(has_batches)
    @rule(number=st.integers(0, 5), promised=st.booleans())
    def promote(self, number, promised):
        chosen = self.some(number)
        ready = self.consumers.ready_for(self.batches.get(chosen))
        until = LATER if promised else None
        self.attempt(self.batches.promote, chosen, ready=ready, legacy_until=until)

    @rule()
    def roll_back(self):
        self.attempt(self.batches.rollback)

    @precondition(has_batches)
    @rule(number=st.integers(0, 5))
    def retire(self, number):
        self.attempt(self.batches.retire, self.some(number))

    @precondition(has_batches)
    @rule(number=st.integers(0, 5), name=st.sampled_from(["ranker", "search"]))
    def register(self, number, name):
        self.attempt(self.consumers.register, name, self.some(number))

    @precondition(lambda self: bool(self.consumers.all()))
    @rule(number=st.integers(0, 5))
    def be_ready(self, number):
        self.attempt(self.consumers.ready, self.consumers.all()[0].consumer, self.some(number))

    @precondition(has_batches)
    @rule(number=st.integers(0, 5))
    def refresh(self, number):
        newest = {"items": self.lake.ensure("items").version()}
        self.attempt(self.batches.begin_refresh, self.some(number), LATER, newest)

    @precondition(has_batches)
    @rule(number=st.integers(0, 5), keep=st.booleans())
    def end_refresh(self, number, keep):
        self.batches.end_refresh(self.some(number), keep=keep)

    @rule()
    def clean_up(self):
        vacuum(self.lake, retention_hours=0)

    @invariant()
    def at_most_one_batch_is_live(self):
        assert list(states(self.batches).values()).count("live") <= 1

    @invariant()
    def every_state_follows_from_the_one_before(self):
        now = states(self.batches)
        for batch_id, state in now.items():
            old = self.before.get(batch_id, "building")
            assert state == old or state in BECOMES[old]
        self.before = now

    @invariant()
    def what_is_pinned_can_be_read(self):
        for batch in self.batches.list():
            if batch.state != "retired":
                for table, version in batch.pins():
                    rows = self.lake.open(table, version).to_pyarrow_table()
                    assert rows.num_rows == version

    @invariant()
    def every_consumer_has_its_batch(self):
        for batch in self.batches.list():
            assert not batch.consumers or batch.state in SERVED


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


def test_batches_are_listed_oldest_first(batches, monkeypatch):
    from lakehouse import batches as module

    class Clock:
        moment = AS_OF

        @classmethod
        def now(cls, _zone):
            cls.moment += timedelta(hours=1)
            return cls.moment

    monkeypatch.setattr(module, "datetime", Clock)
    opened = [open_batch(batches).batch_id for _ in range(3)]
    assert [batch.batch_id for batch in batches.list()] == opened
