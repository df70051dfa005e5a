import numpy as np
from numpy.testing import assert_allclose

from lakehouse.online import unpack_vector
from lakehouse.suppression import subject
from ray_apps.nrt_load import SpaceLoader
from ray_apps.nrt_space import NrtSpace
from schemas.arrow import matrix
from tests.ray_apps.conftest import NOW, played


def test_every_vector_of_the_batch_is_in_the_store_as_it_is(nrt):
    space = nrt.load()
    rows = nrt.lake.read("user_embeddings", nrt.live)
    found = nrt.store.vectors(space.name, rows["user_id"].to_pylist())
    stored = np.stack([unpack_vector(value).values for value in found])
    assert np.array_equal(stored, matrix(rows["embedding"]))
    assert {unpack_vector(value).source for value in found} == {"batch"}


def test_states_know_what_was_known_at_the_moment_and_no_more(nrt):
    space = nrt.load()
    (state,) = nrt.store.states(space.name, ["u5"])
    plays = space.bytes.decode(state.value).plays
    assert len(plays) == 5  # of eight, three came at the moment or after it
    assert (np.diff(plays["at"]) > 0).all()


def test_who_has_told_but_not_played_has_a_state(nrt):
    space = nrt.load()
    (picker,) = nrt.store.states(space.name, ["picker"])
    picks = space.bytes.decode(picker.value).picks
    assert space.items.ids[picks["item"][0]].as_py() == "t3"


def test_users_in_shares_are_the_same_users(nrt):
    space = NrtSpace(nrt.lake, nrt.live)
    whole = dict(row[:2] for row in SpaceLoader(nrt.lake, space, nrt.key).states(0))
    few = SpaceLoader(nrt.lake, space, nrt.key, plays_at_once=100)
    assert few.shares == 4
    parts = [dict(row[:2] for row in few.states(share)) for share in range(few.shares)]
    assert sum(map(len, parts)) == len(whole)
    assert {user_id: state for part in parts for user_id, state in part.items()} == whole


def test_a_load_that_is_repeated_takes_nothing_back(nrt):
    space = nrt.load()
    nrt.send(played("u3", 0))
    nrt.updater(space).step(1.0)
    row = nrt.row("u3", space)
    nrt.load()
    assert_allclose(nrt.row("u3", space), row)
    assert unpack_vector(nrt.store.vectors(space.name, ["u3"])[0]).as_of == NOW()


def test_nobody_who_was_erased_is_loaded_again(nrt):
    nrt.store.erase("u3", subject(nrt.key, "u3"), NOW())
    space = nrt.load()
    assert nrt.store.vectors(space.name, ["u3"]) == [None]
    assert nrt.store.states(space.name, ["u3"]) == [None]
