from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from schemas.errors import BatchError

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


def open_batch(batches, state="building"):
    batch = batches.open(AS_OF, {"listens": 3, "items": 1}, "settings", "0.1.0")
    return batches.record(batch.batch_id, state=state) if state != "building" else batch


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


@pytest.mark.parametrize("changes", [{"state": "lively"}, {"mood": "good"}])
def test_a_wrong_record_changes_nothing(batches, changes):
    batch = open_batch(batches)
    with pytest.raises(ValidationError):
        batches.record(batch.batch_id, **changes)
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


@pytest.mark.parametrize("state", ["building", "legacy", "retired", "failed"])
def test_only_a_candidate_is_promoted(batches, state):
    batch = open_batch(batches, state)
    with pytest.raises(BatchError, match=f"is {state}: only a candidate"):
        batches.promote(batch.batch_id)
    assert states(batches) == {batch.batch_id: state}


def test_a_live_batch_is_not_promoted_again(batches):
    batch = open_batch(batches, "candidate")
    batches.promote(batch.batch_id)
    with pytest.raises(BatchError, match="is live: only a candidate"):
        batches.promote(batch.batch_id)


def test_nothing_becomes_live_by_being_recorded_so(batches):
    batch = open_batch(batches)
    with pytest.raises(BatchError, match="promote"):
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


def test_of_many_who_promote_at_one_moment_one_succeeds(batches, monkeypatch):
    candidates = [open_batch(batches, "candidate").batch_id for _ in range(3)]
    barrier, read = Barrier(3, timeout=30), BatchRegistry._read

    def read_together(self):
        found = read(self)
        barrier.wait()
        return found

    def promote(batch_id):
        try:
            return BatchRegistry(batches._lake).promote(batch_id).batch_id
        except BatchError:
            return None

    with monkeypatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(BatchRegistry, "_read", read_together)
        promoted = list(pool.map(promote, candidates))
    winners = [batch_id for batch_id in promoted if batch_id]
    assert len(winners) == 1
    assert batches.get("live").batch_id == winners[0]
    assert sorted(states(batches).values()) == ["candidate", "candidate", "live"]


def test_batches_opened_at_one_moment_are_all_kept(batches):
    batches.list()  # the table is there
    with ThreadPoolExecutor(3) as pool:
        opened = list(pool.map(lambda _: open_batch(batches).batch_id, range(3)))
    assert sorted(states(batches)) == sorted(opened)


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["promote", "candidate", "live", "legacy", "retired", "failed"]),
    ),
    max_size=8,
)


@settings(max_examples=12)
@given(CHANGES)
def test_whatever_is_done_at_most_one_batch_is_live(changes):
    with TemporaryDirectory() as folder:
        batches = BatchRegistry(Lakehouse(folder))
        ids = [open_batch(batches).batch_id for _ in range(3)]
        for which, change in changes:
            before = states(batches)
            try:
                if change == "promote":
                    batches.promote(ids[which])
                else:
                    batches.record(ids[which], state=change)
            except BatchError:
                assert states(batches) == before
            assert list(states(batches).values()).count("live") <= 1


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
