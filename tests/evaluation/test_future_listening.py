import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.future_listening import (
    MODEL,
    POPULARITY,
    Scores,
    _plain_mean,
    compare,
    per_user_auc,
    task_of,
)
from evaluation.pairs import Question

ITEMS = 6


def contender(*wanted: int) -> np.ndarray:
    """A user who scores the wanted items 1 and all others 0."""
    return np.isin(np.arange(ITEMS), wanted).astype(np.float32)


def scores(users: np.ndarray, **others: np.ndarray) -> Scores:
    found = {MODEL: users, **others}
    items = {name: np.eye(ITEMS, dtype=np.float32) for name in found}
    return Scores(users=found, items=items)


def task(positives: list, excluded: list, weight: list | None = None) -> Question:
    arrays = ([np.array(own) for own in side] for side in (positives, excluded))
    return Question(*arrays, weight=np.array(weight or [1.0] * ITEMS))


def test_who_scores_the_future_highest_wins_every_pair():
    found = per_user_auc(
        task([[0], [1, 2]], [[0], [1, 2]]),
        scores(np.stack([contender(0), contender(1, 2)])),
        seed=0,
    )
    assert found[MODEL].tolist() == [1.0, 1.0]


def test_who_scores_it_lowest_loses_every_pair():
    found = per_user_auc(task([[0]], [[0]]), scores(-contender(0)[None]), seed=0)
    assert found[MODEL].tolist() == [0.0]


def test_what_the_user_has_played_is_no_negative():
    # Items 1 and 2 were played before and score above the positive: they do not count against it.
    users = np.array([[5, 9, 9, 0, 0, 0]], np.float32)
    assert per_user_auc(task([[0]], [[0, 1, 2]]), scores(users), seed=0)[MODEL].tolist() == [1.0]
    assert per_user_auc(task([[0]], [[0]]), scores(users), seed=0)[MODEL][0] < 0.8


@given(st.sets(st.integers(0, ITEMS - 1), min_size=1), st.integers(0, 5))
def test_no_played_item_is_ever_drawn(played, seed):
    # The positive scores 1, what was played 2, all others 0: only a played negative could win.
    own = min(played)
    users = 2 * contender(*played)[None]
    users[0, own] = 1
    found = per_user_auc(task([[own]], [sorted(played)]), scores(users), seed)
    assert found[MODEL][0] == (0.5 if len(played) == ITEMS else 1.0)


def test_an_item_that_nobody_plays_is_never_drawn():
    users = np.array([[1, 0, 0, 0, 0, 9]], np.float32)
    found = per_user_auc(task([[0]], [[0]], [1, 1, 1, 1, 1, 0]), scores(users), seed=0)
    assert found[MODEL].tolist() == [1.0]


def test_popularity_is_worth_a_half_where_all_are_equally_popular():
    popularity = np.ones((2, ITEMS), np.float32)
    users = np.stack([contender(0), contender(1)])
    found = per_user_auc(
        task([[0], [1]], [[0], [1]]), scores(users, **{POPULARITY: popularity}), seed=0
    )
    assert found[POPULARITY].tolist() == [0.5, 0.5]


def test_all_contenders_see_the_same_negatives_and_the_seed_decides_which():
    users = np.random.default_rng(0).random((3, ITEMS)).astype(np.float32)
    questions = task([[0], [1], [2]], [[0], [1], [2]])
    first = per_user_auc(questions, scores(users, twin=users.copy()), seed=1)
    assert first[MODEL].tolist() == first["twin"].tolist()
    assert per_user_auc(questions, scores(users), seed=1)[MODEL].tolist() == first[MODEL].tolist()
    assert per_user_auc(questions, scores(users), seed=2)[MODEL].tolist() != first[MODEL].tolist()


def test_the_difference_is_of_the_same_users():
    by_user = {MODEL: np.array([0.9, 0.7, 0.8]), POPULARITY: np.array([0.6, 0.4, 0.5])}
    model, popularity = compare(by_user, seed=0)
    assert (model["name"], model["difference"], model["interval"]) == (MODEL, None, None)
    assert model["auc"] == pytest.approx(0.8)
    assert popularity["difference"] == pytest.approx(0.3)
    assert popularity["interval"] == pytest.approx((0.3, 0.3))


PLAYS = pd.DataFrame(
    {
        "user_id": ["a", "a", "a", "b", "b", "b"],
        "item": [0, 1, 1, 1, 2, 0],
        "later": [False, True, True, True, True, False],
    }
)
SUPPORT = np.array([4.0, 2.0, 0.0])


def test_negatives_by_later_popularity_are_weighed_by_later_plays():
    found, users = task_of(PLAYS, SUPPORT, "after")
    assert users == ["a", "b"]
    assert found.weight.tolist() == [0, 3, 1]
    assert [sorted(own) for own in found.positives] == [[1], [1, 2]]
    assert [sorted(heard) for heard in found.excluded] == [[0, 1], [0, 1, 2]]


def test_negatives_by_earlier_popularity_leave_out_what_nobody_knew():
    found, users = task_of(PLAYS, SUPPORT, "before")
    assert users == ["a", "b"]
    assert found.weight.tolist() == SUPPORT.tolist()
    assert [sorted(own) for own in found.positives] == [[1], [1]]


def test_a_user_who_plays_only_what_nobody_knew_is_not_asked_then():
    plays = PLAYS[(PLAYS["user_id"] == "b") & (PLAYS["item"] == 2)]
    assert task_of(plays, SUPPORT, "before")[1] == []


def test_the_plain_average_counts_only_what_came_before():
    vectors = np.eye(3, dtype=np.float32)
    assert _plain_mean(PLAYS, ["b", "a", "c"], vectors).tolist() == [
        [1, 0, 0],
        [1, 0, 0],
        [0, 0, 0],
    ]
