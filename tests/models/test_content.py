import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models.content import content_sums, fit
from models.content_features import ContentConfig, learn_layout
from models.features import unit
from schemas.arrow import list_column

ITEMS, SIZE = 400, 5
GENRES = ("rock", "jazz", "folk")


def world(items: int = ITEMS, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Items whose genre and audio both tell where they are."""
    rng = np.random.default_rng(seed)
    genre = rng.integers(0, len(GENRES), items)
    audio = rng.standard_normal((items, 2))
    place = np.hstack([2 * np.eye(len(GENRES))[genre], np.sin(audio)])
    told = {
        "kind": ["track"] * items,
        "genres": [[GENRES[number]] for number in genre],
        "audio_features": list_column(audio),
    }
    return pa.table(told), unit(place)


@pytest.fixture(scope="module")
def encoder():
    items, vectors = world()
    layout = learn_layout(items, ContentConfig(waves=64), SIZE, text_size=0)
    return fit(layout, content_sums(layout, items, vectors, np.ones(ITEMS)))


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float((left * right).sum(axis=1).mean())


def test_items_that_nobody_met_are_placed_by_what_is_known_of_them(encoder):
    items, vectors = world(200, seed=1)
    found, known = encoder.vectors(items)
    assert known.all()
    assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert cosine(found, vectors) > 0.97


@pytest.mark.parametrize("told", ["genres", "audio_features"])
def test_an_item_that_lacks_blocks_is_placed_as_if_only_the_others_had_been_learned(encoder, told):
    items, vectors = world()
    some = items.select(["kind", told])
    layout = learn_layout(some, encoder.layout.config, SIZE, text_size=0)
    alone = fit(layout, content_sums(layout, some, vectors, np.ones(ITEMS)))
    fresh, _ = world(50, seed=2)
    fresh = fresh.select(["kind", told])
    assert_allclose(encoder.vectors(fresh)[0], alone.vectors(fresh)[0], atol=1e-3)


def test_of_an_item_of_which_nothing_is_known_nothing_is_said(encoder):
    found, known = encoder.vectors(pa.table({"kind": ["track"]}))
    assert not known.any()
    assert not found.any()


def test_a_block_that_no_training_item_had_says_nothing():
    items, vectors = world()
    layout = learn_layout(items, ContentConfig(waves=8), SIZE, text_size=3)
    sums = content_sums(layout, items, vectors, np.ones(ITEMS))
    _, known = fit(layout, sums).vectors(
        pa.table({"kind": ["track"], "text": list_column(np.ones((1, 3)))})
    )
    assert not known.any()


def test_an_item_lies_the_nearer_to_its_creators_others_the_more_they_are(encoder):
    items, _ = world(1)
    there = np.roll(encoder.vectors(items)[0], 1, axis=1)
    near = []
    for weight in (0.0, 1.0, 1_000.0):
        told = items.append_column("others", list_column(weight * there))
        found, _ = encoder.vectors(told.append_column("others_weight", pa.array([weight])))
        near.append(cosine(found, there))
    assert near[0] < near[1] < near[2]
    assert near[2] > 0.99


@given(st.integers(0, ITEMS))
def test_the_shares_of_partitions_add_up(cut):
    items, vectors = world()
    layout = learn_layout(items, ContentConfig(waves=2), SIZE, text_size=0)

    def share(rows: slice):
        chosen = items.slice(rows.start, rows.stop - rows.start)
        return content_sums(layout, chosen, vectors[rows], np.ones(rows.stop - rows.start))

    parts, whole = share(slice(0, cut)) + share(slice(cut, ITEMS)), share(slice(0, ITEMS))
    assert_allclose(parts.gram, whole.gram, rtol=1e-4, atol=1e-2)
    assert_allclose(parts.cross, whole.cross, rtol=1e-4, atol=1e-2)


def test_items_without_a_vector_teach_nothing():
    items, vectors = world()
    layout = learn_layout(items, ContentConfig(waves=2), SIZE, text_size=0)
    assert not content_sums(layout, items, np.zeros_like(vectors), np.ones(ITEMS)).gram.any()
