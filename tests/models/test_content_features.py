import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from models.content_features import (
    BLOCKS,
    ContentConfig,
    learn_layout,
    others_of_creator,
    vectors_in,
)

SMALL = ContentConfig(waves=4, fewest_items=2)
ITEMS = pa.table(
    {
        "kind": ["track", "track", "episode"],
        "genres": [["rock", "loud"], ["rock"], None],
        "language": ["en", "en", None],
        "audio_features": pa.array([[0.0, 2.0], [2.0, None], None], pa.list_(pa.float32())),
    }
)


@pytest.fixture
def layout():
    return learn_layout(ITEMS, SMALL, vector_size=2, text_size=3)


def test_words_that_few_items_share_get_no_column(layout):
    assert layout.genres == ("rock",)
    assert layout.languages == ("en",)
    assert layout.kinds == ("track", "episode")


def test_audio_that_an_item_does_not_tell_is_left_out_of_mean_and_spread(layout):
    assert_allclose(layout.audio_mean, [1, 2])
    assert_allclose(layout.audio_std, [1, 1e-6])


def test_a_row_holds_each_block_and_its_bit(layout):
    rows, present = layout.rows(ITEMS)
    assert rows.shape == (3, sum(layout.widths.values()))
    assert present.tolist() == [[True, True, False, False]] * 2 + [[False] * 4]
    for name, column in zip(BLOCKS, present.T, strict=True):
        assert rows[:, layout.slices[name]][:, -1].tolist() == column.tolist()
    assert not rows[2, layout.slices["base"].stop :].any()
    assert_allclose(rows[1, layout.slices["audio"]][:2], [1, 0])  # the mean for what is untold


def test_columns_that_are_not_there_are_unknown(layout):
    _, present = layout.rows(ITEMS.select(["kind"]))
    assert not present.any()


def test_without_texts_there_is_no_text():
    layout = learn_layout(ITEMS, SMALL, vector_size=2, text_size=0)
    _, present = layout.rows(ITEMS)
    assert not present[:, BLOCKS.index("text")].any()


def test_an_item_hears_of_its_creators_other_items_and_not_of_itself():
    creator = np.array([0, 0, 1, -1, -1])
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0], [0, 1]], np.float32)
    sums, weight = others_of_creator(creator, vectors, np.array([0.5, 0.25, 1, 1, 1]))
    assert_allclose(sums, [[0, 0.25], [0.5, 0], [0, 0], [0, 0], [0, 0]])
    assert weight.tolist() == [0.25, 0.5, 0, 0, 0]


def test_an_item_without_a_vector_is_no_evidence():
    vectors = np.array([[1.0, 0], [0, 0]], np.float32)
    _, weight = others_of_creator(np.zeros(2, np.int64), vectors, np.ones(2))
    assert weight.tolist() == [0, 1]


def test_lists_of_a_slice_are_read_where_they_lie():
    lists = pa.array([[9.0, 9.0], None, [1.0, 2.0]], pa.list_(pa.float32()))
    values, known = vectors_in(pa.table({"text": lists}).slice(1), "text", 2)
    assert_allclose(values, [[0, 0], [1, 2]])
    assert known.tolist() == [False, True]
