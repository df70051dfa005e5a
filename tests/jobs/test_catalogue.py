import numpy as np
import pytest

from jobs.catalogue import FEWEST_PLAYS, describe
from jobs.cooccurrence import FOLDS, WHOLE, fold_of
from schemas.errors import InputError

pytestmark = pytest.mark.spark

INDEX = "item_id string, item int, creator_id string, genres array<string>, language string"
ITEMS = [
    ("t0", 0, "A", ["rock", "loud"], "en"),
    ("t1", 1, "A", ["rock"], "en"),
    ("t2", 2, "B", ["rock"], None),
    ("t3", 3, "C", ["jazz"], "en"),
    ("t4", 4, "C", ["jazz"], None),
]
PLAYS = [("u0", 0), ("u0", 0), ("u1", 1), ("u2", 2), ("u3", 0)]


@pytest.fixture
def described(spark, monkeypatch):
    monkeypatch.setattr("jobs.catalogue.FEWEST_ITEMS", 2)

    def run(items=ITEMS, plays=PLAYS, most: int = 100):
        index = spark.createDataFrame(items, INDEX)
        return describe(index, spark.createDataFrame(plays, "user_id string, item int"), most)

    return run


def columns(catalogue) -> list[list[int]]:
    """The items of each context, most played context first."""
    return [np.flatnonzero(column).tolist() for column in catalogue.own.toarray().T]


def test_contexts_are_played_and_genres_describe_some_items_at_least(described):
    # Not 'loud', which one played item has, nor creator C and jazz, which nobody played.
    found = described()
    # rock, creator A, English, creator B
    assert columns(found) == [[0, 1, 2], [0, 1], [0, 1, 3], [2]]
    assert found.is_creator.tolist() == [False, True, False, True]
    assert len(set(found.block.tolist())) == 3


def test_the_most_played_contexts_are_kept(described):
    assert columns(described(most=1)) == [[0, 1, 2]]


def test_support_counts_plays_by_fold(described, spark):
    found = described()
    assert found.support_without(WHOLE).tolist() == [3, 1, 1, 0, 0]
    users = spark.createDataFrame([("u1",)], "user_id string")
    fold = users.select(fold_of()).first()[0]
    assert found.support_without(fold)[1] == 0
    assert sum(found.support_without(one).sum() for one in range(FOLDS)) == (FOLDS - 1) * len(PLAYS)


def test_an_item_that_is_played_often_is_a_context_itself(described):
    often = [*PLAYS, *[("u4", 3)] * FEWEST_PLAYS]
    found = described(plays=often)
    items = [items for items, alone in zip(columns(found), found.is_item, strict=True) if alone]
    assert items == [[3]]
    assert not (found.is_item & found.is_creator).any()


def test_where_nothing_is_known_of_the_items_only_they_are_contexts(described):
    bare = [(item_id, number, None, None, None) for item_id, number, *_ in ITEMS]
    found = described(bare, PLAYS * FEWEST_PLAYS)
    assert columns(found) == [[0], [1], [2]]
    assert found.is_item.all()
    assert not found.is_creator.any()


def test_too_little_to_learn_from_is_said(described):
    bare = [(item_id, number, None, None, None) for item_id, number, *_ in ITEMS]
    with pytest.raises(InputError, match="too little to learn from"):
        described(bare, plays=[("u0", 3)])
