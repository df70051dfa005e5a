import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evaluation.held_out import Split, found, found_by_popularity, last_of_some, last_plays

USER = np.repeat([1, 2], 10)
ITEM = np.r_[[7, 7, 7, 8, 8, 8, 9, 9, 7, 9], [7, 8, 9, 7, 8, 9, 7, 8, 5, 9]]


def test_the_last_plays_of_each_user_are_what_is_to_be_found():
    split = last_plays(USER, ITEM, share=0.2, latest=3, fewest=2)
    assert_array_equal(split.items, [7, 8, 9])
    assert_array_equal(split.user, np.repeat([1, 2], 8))
    (query, wanted), (other, last) = split.queries
    assert_array_equal(split.items[query], [8, 9, 9])
    assert_array_equal(split.items[wanted], [7, 9])
    assert_array_equal(split.items[other], [9, 7, 8])
    assert_array_equal(split.items[last], [9])  # 5 was never played before


def test_items_that_are_seldom_played_are_left_out_altogether():
    split = last_plays(USER, ITEM, share=0.2, fewest=6)
    assert_array_equal(split.items, [7, 8])
    assert set(split.item.tolist()) == {0, 1}


def test_whole_contexts_are_held_out_and_their_last_item_is_asked_for():
    context = np.repeat([1, 2, 3], 4)
    item = np.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 9, 1, 2])
    split = last_of_some(context, item, held_out=context == 3, fewest=1)
    assert_array_equal(split.user, np.repeat([1, 2], 4))
    ((query, wanted),) = split.queries
    assert_array_equal(split.items[query], [3, 1])  # 9 is not known
    assert_array_equal(split.items[wanted], [2])


def test_a_context_whose_last_item_is_unknown_asks_nothing():
    split = last_of_some(
        np.array([1, 1, 2, 2]), np.array([1, 2, 1, 9]), np.array([0, 0, 1, 1]) > 0, 1
    )
    assert not split.queries


def test_what_lies_nearest_is_found_and_what_was_asked_with_is_not():
    split = last_plays(USER, ITEM, share=0.2, latest=2, fewest=2)
    near = np.array([[1.0, 0.1], [0.0, 1.0], [1.0, 0.0]], np.float32)
    assert found(near, split)["hit@10"] == 1.0  # of three items everything is among ten
    assert found(near, split)["recall@50"] == pytest.approx(0.75)  # 9 was in a query


def test_popularity_gives_everybody_the_same():
    played = np.repeat(np.arange(100), np.arange(100, 0, -1))  # item 0 most often, 99 once
    queries = [(np.array([50]), np.array([wanted])) for wanted in (9, 10, 49, 99)]
    split = Split(np.zeros(len(played), int), played, np.arange(100), queries)
    scores = found_by_popularity(split)
    assert scores["hit@10"] == 0.25
    assert scores["recall@50"] == 0.75
    assert scores["hit@500"] == 1.0
