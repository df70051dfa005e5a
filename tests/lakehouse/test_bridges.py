from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import ortho_group

from lakehouse.bridges import READ_FROM, Bridge, BridgeRegistry, read_through, rotation_between
from lakehouse.space import batch_of, similarity
from models.layout import VECTOR_SIZE
from schemas.arrow import matrix
from schemas.errors import BatchError, InputError, MixedBatchesError

SIZE = 128
T0 = datetime(2026, 3, 2, tzinfo=UTC)


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return ortho_group.rvs(size, random_state=seed)


def units(count: int, size: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def bridge(new, old, state: str = "ready", days: int = 0, turn: np.ndarray | None = None) -> Bridge:
    return Bridge(
        from_batch=new.batch_id,
        to_batch=old.batch_id,
        made_at=T0 + timedelta(days=days),
        rotation=np.float32(np.eye(SIZE) if turn is None else turn),
        metrics={"models": {one.batch_id: one.model_sha256 for one in (new, old)}},
        state=state,
        users=100,
        code_version="0.1.0",
    )


@pytest.fixture
def spaces(lake, two_spaces):
    """The legacy and the live batch of a lakehouse, the live one turned by hand."""
    old, new = two_spaces(turn=rotation(VECTOR_SIZE))
    return lake.batch(new.batch_id), lake.batch(old.batch_id)


@given(st.integers(2, 12), st.integers(0, 1000))
def test_a_turn_of_the_whole_space_is_found_exactly(size, seed):
    old, turn = units(3 * size, size, seed), rotation(size, seed)
    found = rotation_between(old @ turn.T, old, np.ones(len(old)))
    assert_allclose(found, turn, atol=1e-5)


@given(st.integers(0, 1000))
def test_a_mirror_is_found_as_well_as_a_turn(seed):
    old, mirror = units(30, 8, seed), np.diag([-1.0, *[1.0] * 7])
    assert_allclose(rotation_between(old @ mirror, old, np.ones(30)), mirror, atol=1e-5)


@given(st.integers(2, 12), st.integers(0, 1000), st.floats(0, 10))
def test_whatever_the_pairs_are_the_map_keeps_every_length(size, seed, noise):
    rng = np.random.default_rng(seed)
    new = units(20, size, seed)
    old = new + noise * rng.normal(size=new.shape)
    found = rotation_between(new, old, rng.random(20))
    assert_allclose(found @ found.T, np.eye(size), atol=1e-5)


def test_noise_moves_the_map_the_less_the_more_pairs_there_are():
    turn = rotation(16)

    def distance(pairs: int) -> float:
        old = units(pairs, 16)
        noise = 0.1 * np.random.default_rng(1).normal(size=old.shape)
        found = rotation_between(old @ turn.T + noise, old, np.ones(pairs))
        return float(np.linalg.norm(found - turn))

    assert distance(20) > 2 * distance(2000)


def test_a_pair_without_weight_does_not_count():
    old, turn = units(40, 8), rotation(8)
    new = old @ turn.T
    new[20:] = units(20, 8, seed=1)
    found = rotation_between(new, old, np.repeat([1.0, 0.0], 20))
    assert_allclose(found, turn, atol=1e-5)


def test_a_bridge_is_the_same_after_it_was_written(lake, spaces):
    made = bridge(*spaces, turn=rotation(SIZE))
    BridgeRegistry(lake).add(made)
    read = BridgeRegistry(lake).get(*spaces)
    assert_allclose(read.rotation, made.rotation)
    assert {**vars(read), "rotation": None} == {**vars(made), "rotation": None}


def test_the_newest_bridge_that_is_ready_counts_and_none_is_lost(lake, spaces):
    registry = BridgeRegistry(lake)
    for days, state in ((2, "ready"), (1, "ready"), (3, "refused")):
        registry.add(bridge(*spaces, state=state, days=days))
    assert registry.get(*spaces).made_at == T0 + timedelta(days=2)
    assert [one.state for one in registry.all()] == ["ready", "ready", "refused"]


def test_without_a_bridge_the_error_says_what_to_run(lake, spaces):
    new, old = spaces
    with pytest.raises(BatchError, match=f"none was built.*build {new.batch_id} {old.batch_id}"):
        BridgeRegistry(lake).get(new, old)


def test_a_bridge_leads_one_way(lake, spaces):
    BridgeRegistry(lake).add(bridge(*spaces))
    with pytest.raises(BatchError, match="none was built"):
        BridgeRegistry(lake).get(*reversed(spaces))


def test_a_refused_bridge_cannot_be_read_through(lake, spaces):
    BridgeRegistry(lake).add(bridge(*spaces, state="refused"))
    with pytest.raises(BatchError, match="of 2026-03-02 00:00 UTC was refused"):
        read_through(lake, "user_embeddings")


def test_a_bridge_to_a_model_that_was_trained_again_is_not_used(lake, spaces):
    new, old = spaces
    BridgeRegistry(lake).add(bridge(new.changed(model_sha256="another"), old))
    with pytest.raises(BatchError, match="fitted to other models"):
        read_through(lake, "user_embeddings")


def test_a_bridge_stays_good_when_a_batch_only_got_newer_vectors(lake, spaces):
    new, old = spaces
    BridgeRegistry(lake).add(bridge(new, old))
    refreshed = new.changed(tables={**new.tables, "user_embeddings": 99})
    assert BridgeRegistry(lake).get(refreshed, old).fits(refreshed, old)


def test_two_spaces_do_not_meet_without_a_bridge(lake, spaces):
    new, old = (lake.read("user_embeddings", one) for one in spaces)
    with pytest.raises(MixedBatchesError):
        similarity(new, old)


def test_what_was_read_through_a_bridge_belongs_to_the_old_batch(lake, spaces):
    new, old = spaces
    turn = rotation(SIZE)
    BridgeRegistry(lake).add(bridge(new, old, turn=turn))
    rows = read_through(lake, "user_embeddings")
    before = lake.read("user_embeddings", new)
    assert batch_of(rows) == old.batch_id
    assert rows.schema.metadata[READ_FROM] == new.batch_id.encode()
    assert set(rows["batch_id"].to_pylist()) == {old.batch_id}
    assert rows.schema.equals(before.schema)
    assert rows.drop_columns(["batch_id", "embedding"]).equals(
        before.drop_columns(["batch_id", "embedding"])
    )
    assert_allclose(matrix(rows["embedding"]), matrix(before["embedding"]) @ turn, atol=1e-5)
    similarity(rows, lake.read("user_embeddings", old))  # which raised without the bridge


def test_some_columns_are_marked_alike(lake, spaces):
    BridgeRegistry(lake).add(bridge(*spaces))
    rows = read_through(lake, "user_embeddings", columns=["user_id"])
    assert rows.column_names == ["user_id"]
    assert batch_of(rows) == spaces[1].batch_id


@pytest.mark.usefixtures("spaces")
def test_a_consumer_of_the_batch_itself_needs_no_bridge(lake):
    rows = read_through(lake, "user_embeddings", batch="live", into="live")
    assert rows.equals(lake.read("user_embeddings", "live"))


@pytest.mark.usefixtures("spaces")
def test_a_table_without_users_vectors_is_not_read_through(lake):
    with pytest.raises(InputError, match="not track_vectors"):
        read_through(lake, "track_vectors")
