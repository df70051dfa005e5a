from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cooccurrence import (
    FOLDS,
    fold_of,
    gap_that_tells,
    item_key,
    neighbourhoods,
    neighbours,
    numbered,
)
from models.cooccurrence import PLAY, Counting

pytestmark = pytest.mark.spark

T0 = datetime(2026, 3, 1, tzinfo=UTC)
GAP, WINDOW = 30.0, 2
COUNTING = Counting(GAP, WINDOW, fading=0.0, most_a_day=1_000)
# user, item, minutes: u0 plays 1 2 3, falls silent, plays 4 4 5; u1 plays 1 and 6 between them.
PLAYS = [
    ("u0", 1, 0),
    ("u0", 2, 5),
    ("u0", 3, 10),
    ("u0", 4, 41),
    ("u0", 4, 45),
    ("u0", 5, 46),
    ("u1", 1, 6),
    ("u1", 6, 36),
]


@pytest.fixture
def pairs_of(spark, arrow_rows):
    """How often each pair meets, as a function of plays."""
    arrow_rows(3)  # sessions go on from one Arrow batch to the next

    names = spark.createDataFrame([(str(number),) for number in range(10)], "item_id string")
    number_of = {
        row["key"]: int(row["item_id"]) for row in names.withColumn("key", item_key()).collect()
    }

    def count(plays, days=None, **counting) -> Counter:
        frame = spark.createDataFrame(*rows_of(plays))
        found = neighbours(frame, replace(COUNTING, **counting), days).collect()
        assert all(row["count"] % PLAY == 0 for row in found)
        assert all(row["item"] < row["neighbour"] for row in found)
        counted = Counter()
        for row in found:
            pair = number_of[row["item"]], number_of[row["neighbour"]]
            counted[min(pair), max(pair)] += row["count"] // PLAY
        return counted

    return count


def rows_of(plays) -> tuple[list, str]:
    """Plays as rows, and their schema."""
    rows = [
        (user, user, str(item), T0 + timedelta(minutes=minutes), f"e{number:02d}", None)
        for number, (user, item, minutes) in enumerate(plays)
    ]
    names = "context string, user_id string, item_id string"
    return rows, f"{names}, played_at timestamp, event_id string, ms_played long"


def once(*pairs) -> Counter:
    return Counter((min(pair), max(pair)) for pair in pairs)


def test_neighbours_are_the_different_items_nearby_in_one_session_of_one_user(pairs_of):
    # Both plays of 4 lie within two places of 5; a silence of exactly thirty minutes ends nothing.
    expected = once((1, 2), (1, 3), (2, 3), (4, 5), (4, 5), (1, 6))
    assert pairs_of(PLAYS) == expected


def test_a_window_of_one_sees_only_the_next_play(pairs_of):
    assert pairs_of(PLAYS, window=1) == once((1, 2), (2, 3), (4, 5), (1, 6))


def test_plays_of_one_moment_are_ordered_by_their_ids(pairs_of):
    assert pairs_of([("u0", 1, 0), ("u0", 2, 0), ("u0", 3, 0)], window=1) == once((1, 2), (2, 3))


def test_plays_beyond_the_most_of_a_day_are_not_looked_at(pairs_of):
    day = 24 * 60
    plays = [("u0", 1, 0), ("u0", 2, 1), ("u0", 3, 2), ("u0", 3, day), ("u0", 4, day + 1)]
    assert pairs_of(plays, most_a_day=2) == once((1, 2), (3, 4))


def test_of_some_days_only_pairs_that_end_there_are_counted(pairs_of):
    today = (T0 - datetime(1970, 1, 1, tzinfo=UTC)).days
    plays = [("u0", 1, -2), ("u0", 2, -1), ("u0", 3, 0), ("u0", 4, 24 * 60)]
    assert pairs_of(plays, days=[today]) == once((1, 3), (2, 3))
    assert pairs_of(plays, days=[today - 1]) == once((1, 2))


def test_a_whole_history_may_be_one_session(pairs_of):
    assert pairs_of([("u0", 1, 0), ("u0", 2, 10**6)], gap_minutes=None) == once((1, 2))


@pytest.mark.parametrize(("apart", "gap"), [(5, GAP), (24 * 60, None)])
def test_times_tell_sessions_where_plays_follow_each_other_within_the_gap(spark, apart, gap):
    plays = [(f"u{user}", 1, apart * number) for user in range(40) for number in range(10)]
    assert gap_that_tells(spark.createDataFrame(*rows_of(plays)), GAP) == gap


def by_hand(plays, window: int) -> Counter:
    found = []
    for user in {user for user, _, _ in plays}:
        own = [(at, number, item) for number, (who, item, at) in enumerate(plays) if who == user]
        own.sort()
        sessions = []
        for at, _, item in own:
            if not sessions or at - sessions[-1][-1][0] > GAP:
                sessions.append([])
            sessions[-1].append((at, item))
        for session in sessions:
            for place, (_, item) in enumerate(session):
                found += [
                    (item, other)
                    for _, other in session[place + 1 : place + 1 + window]
                    if other != item
                ]
    return once(*found)


def test_pairs_are_those_that_two_loops_find(pairs_of):
    @given(
        st.lists(
            st.tuples(st.sampled_from(["u0", "u1"]), st.integers(0, 3), st.integers(0, 200)),
            min_size=40,
            max_size=60,
        )
    )
    def law(plays):
        assert pairs_of(plays, window=3) == by_hand(plays, window=3)

    from hypothesis import settings

    settings(max_examples=4)(law)()


def test_every_item_gets_one_row_of_what_was_near_it(spark):
    pairs = [(1, 2, 0, 3_000), (1, 2, 4, 1_000), (1, 3, 0, 500)]
    frame = spark.createDataFrame(pairs, "item int, neighbour int, fold int, count long")
    found = {row["item"]: row for row in neighbourhoods(frame).collect()}
    met = {
        item: sorted(zip(row["neighbours"], row["folds"], row["counts"], strict=True))
        for item, row in found.items()
    }
    assert met == {
        1: [(2, 0, 3_000.0), (2, 4, 1_000.0), (3, 0, 500.0)],
        2: [(1, 0, 3_000.0), (1, 4, 1_000.0)],
        3: [(1, 0, 500.0)],
    }


def test_rows_are_numbered_by_the_catalogue_and_lose_what_it_lacks(spark):
    names = spark.createDataFrame([("a",), ("b",), ("c",), ("gone",)], "item_id string")
    key = {row["item_id"]: row["key"] for row in names.withColumn("key", item_key()).collect()}
    rows = [
        (key["a"], [key["b"], key["gone"], key["c"]], [0, 1, 2], [5, 6, 7]),
        (key["b"], [key["gone"]], [0], [1]),
        (key["gone"], [key["a"]], [0], [1]),
    ]
    schema = "item_key long, neighbours array<long>, folds array<int>, counts array<long>"
    index = spark.createDataFrame([("a", 2), ("b", 0), ("c", 1)], "item_id string, item int")
    found = numbered(spark.createDataFrame(rows, schema), index).orderBy("item").collect()
    assert [tuple(row) for row in found] == [(0, [], [], []), (2, [0, 1], [0, 2], [5.0, 7.0])]


def test_a_user_has_one_fold_and_the_folds_are_of_like_size(spark):
    users = spark.range(2_000).selectExpr("concat('u', id) AS user_id")
    folds = users.select("user_id", fold_of().alias("fold")).collect()
    assert folds == users.select("user_id", fold_of().alias("fold")).collect()
    sizes = Counter(row["fold"] for row in folds)
    assert sorted(sizes) == list(range(FOLDS))
    assert min(sizes.values()) > 300
