from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lakehouse.folder_log import ends
from lakehouse.online import unpack_vector
from ray_apps.nrt_directory import batch_of, read_directory
from ray_apps.nrt_keeper import Keeper, wanted_batches
from ray_apps.nrt_space import NrtSpace, space_name
from tests.ray_apps.conftest import played

LONG_AFTER = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
def keeper(nrt):
    return Keeper(nrt.lake, nrt.store, lambda: ends(nrt.log), key=nrt.key, grace=0.0)


def catch_up(nrt, space_id):
    """Read the log into a space to its end, as an updater does."""
    batch = nrt.lake.batches.get(batch_of(space_id))
    updater = nrt.updater(NrtSpace(nrt.lake, batch))
    while updater.step(0.05).events:
        pass
    updater.close()


def test_the_live_batch_is_loaded_and_answers_once_it_has_seen_the_log(nrt, keeper):
    nrt.send(played("u3", 0))
    live = space_name(nrt.live)
    assert keeper.step().stages == {live: "following"}
    assert keeper.step().live is None
    catch_up(nrt, live)
    assert keeper.step().live == live


def test_nothing_is_wanted_before_a_batch_is_live(lake):
    assert wanted_batches(lake).all == {}


def test_a_promotion_turns_readers_only_when_the_new_space_has_every_event(nrt, keeper):
    old, new = nrt.batches[0], nrt.live
    nrt.lake.batches.rollback(old.batch_id)
    keeper.step()
    catch_up(nrt, space_name(old))
    assert keeper.step().live == space_name(old)
    nrt.send(played("u3", 0, item=7))
    catch_up(nrt, space_name(old))
    nrt.lake.batches.promote(new.batch_id, legacy_until=LONG_AFTER)
    keeper.step()
    found = keeper.step()
    assert found.live == space_name(old)  # the new one has not seen the event
    assert set(found.followed) == {space_name(old), space_name(new)}
    catch_up(nrt, space_name(new))
    found = keeper.step()
    assert (found.live, found.legacy) == (space_name(new), space_name(old))
    (value,) = nrt.store.vectors(found.live, ["u3"])
    assert unpack_vector(value).source == "nrt"


def test_both_batches_have_vectors_of_each_event_while_both_are_needed(nrt, keeper):
    old, new = nrt.batches[0], nrt.live
    nrt.lake.batches.move_consumer("search", old.batch_id)
    keeper.step()
    nrt.send(played("u3", 0, item=7))
    for batch in (old, new):
        catch_up(nrt, space_name(batch))
    keeper.step()
    found = keeper.step()
    kept = [
        unpack_vector(nrt.store.vectors(space, ["u3"])[0]) for space in (found.live, found.legacy)
    ]
    assert [vector.source for vector in kept] == ["nrt", "nrt"]
    assert not np.allclose(kept[0].values, kept[1].values)


def test_a_rollback_is_the_same_write_backwards(nrt, keeper):
    old, new = nrt.batches[0], nrt.live
    nrt.lake.batches.move_consumer("search", old.batch_id)
    keeper.step()
    assert keeper.step().live == space_name(new)
    nrt.lake.batches.rollback()
    assert keeper.step().live == space_name(old)


def test_a_batch_that_nobody_needs_leaves_the_store(nrt, keeper):
    old, new = nrt.batches[0], nrt.live
    nrt.lake.batches.move_consumer("search", old.batch_id)
    keeper.step()
    keeper.step()
    nrt.lake.batches.move_consumer("search", new.batch_id)
    for _ in range(3):
        found = keeper.step()
    assert found.legacy is None
    assert list(found.stages) == [space_name(new)]
    assert nrt.store.spaces() == [space_name(new)]


def test_a_refresh_is_another_space_of_the_same_batch(nrt, keeper):
    keeper.step()
    before = keeper.step().live
    batch = nrt.live
    later = batch.as_of + timedelta(hours=3)
    nrt.lake.batches.begin_refresh(batch.batch_id, later, batch.parents)
    nrt.lake.batches.end_refresh(batch.batch_id, keep=True)
    keeper.step()
    after = keeper.step().live
    assert batch_of(before) == batch_of(after)
    assert before != after
    assert read_directory(nrt.store).live == after
