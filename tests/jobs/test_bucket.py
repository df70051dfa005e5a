from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from jobs.blocks import PLAYS, TOLD, packed, unpacked
from jobs.bucket import BucketFeatures
from jobs.cooccurrence import WHOLE
from jobs.shipping import saved
from models.codebook import Codebook
from models.events import HOUR
from models.features import unit
from models.layout import VECTOR_SIZE, build_layout
from models.profiles import SCHEMA as TOLD_COLUMNS

T0 = datetime(2026, 3, 1, tzinfo=UTC)
START = round(T0.timestamp()) * 1_000_000
HORIZON, MOST, BUCKET, LONGEST = 7.0, 2, 1, 5
FOLD = 3
LAYOUT = build_layout({"surface": ["home"], "country": ["SE"]})
ITEMS = 6
VECTORS = unit(np.random.default_rng(7).standard_normal((ITEMS, VECTOR_SIZE)).astype(np.float32))


def play(
    number: int, item: int, hours: float, learned: float | None = None, user: str = "u0"
) -> dict:
    """One play, so many hours after the beginning; learned of so many hours after it."""
    known = hours if learned is None else learned
    return {
        "user_id": user,
        "item": item if item < ITEMS else -1,
        "item_id": None if item < ITEMS else f"t{item}",
        "at": START + round(hours * HOUR),
        "learned": START + round(known * HOUR),
        "tie": number,
        "ms_played": 60_000,
        "item_kind": "track",
        "surface": "home",
        "device": None,
        "fold": FOLD,
        "validation": False,
    }


def person(user: str = "u0", **changes) -> dict:
    return {"user_id": user} | dict.fromkeys(TOLD_COLUMNS.names) | changes


PLAYED = pa.schema(
    [
        ("bucket", pa.int32()),
        *((name, pa.string()) for name in ("user_id", "item_id")),
        *((name, pa.int32()) for name in ("item", "ms_played", "fold")),
        *((name, pa.int64()) for name in ("at", "learned", "tie")),
        *((name, pa.string()) for name in ("item_kind", "surface", "device")),
        ("validation", pa.bool_()),
    ]
)
PEOPLE = pa.schema([("bucket", pa.int32()), ("user_id", pa.string()), *TOLD_COLUMNS])


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A function of plays, people and a moment that gives the rows of each table."""
    shipped = saved(
        tmp_path_factory.mktemp("shipped") / "items",
        {WHOLE: VECTORS, FOLD: VECTORS},
        Codebook(),
        np.arange(ITEMS) // 2,
        np.array([120_000.0, 30_000.0, np.nan, 0.0, 60_000.0, 60_000.0]),
        pa.array([f"t{item}" for item in range(ITEMS)]),
    )

    def made(
        plays: list[dict], people: list[dict], as_of: datetime, *, stand_ins: bool = False
    ) -> dict[str, list[dict]]:
        compute = BucketFeatures(
            batch_id="b",
            layout=LAYOUT,
            as_of=as_of,
            horizon_days=HORIZON,
            session_gap=30.0,
            cuts=MOST,
            sequence_length=LONGEST,
            shipped=shipped,
            stand_ins=stand_ins,
        )
        blocks = {}
        for kind, rows, schema in ((PLAYS, plays, PLAYED), (TOLD, people, PEOPLE)):
            if rows:
                whole = [row | {"bucket": BUCKET} for row in rows]
                blocks |= unpacked(packed(pa.Table.from_pylist(whole, schema=schema), kind))
        return {name: rows.to_pylist() for name, rows in compute(BUCKET, blocks).items()}

    return made


@pytest.fixture(scope="module")
def everyone(tables):
    return lambda *given: tables(*given)["user_features"]


@pytest.fixture(scope="module")
def examples(tables):
    return lambda *given, **how: tables(*given, **how)["training_examples"]


@pytest.fixture(scope="module")
def sequences(tables):
    return lambda *given: tables(*given)["user_sequences"]


LATE = T0 + timedelta(days=40)
DRAWN_PLAYS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 300), st.integers(0, 48)), min_size=1, max_size=10
)


@given(DRAWN_PLAYS)
def test_an_example_is_the_row_that_the_user_would_have_had_at_that_moment(
    everyone, examples, drawn
):
    plays = [
        play(number, item, hours, learned=hours + late)
        for number, (item, hours, late) in enumerate(drawn)
    ]
    told = person(country="SE", registered_at=START + 60 * HOUR, birth_year=1990) | {
        "picked_at": [START, START + 100 * HOUR],
        "picked_item": [2, 5],
        "picked_creator": [-1, -1],
    }
    for example in examples(plays, [told], LATE):
        moment = round(example["as_of"].timestamp()) * 1_000_000
        known = [row for row in plays if row["at"] < moment and row["learned"] <= moment]
        then = everyone(known, [told], example["as_of"])[0]
        assert_allclose(example["features"], then["features"], atol=1e-5)
        assert example["present"] == then["present"]


def test_what_was_learned_later_does_not_count_though_it_was_played_before(examples):
    plays = [play(0, 0, 0), play(1, 1, 1, learned=90), play(2, 2, 50)]
    late = [row for row in examples(plays, [person()], LATE) if row["targets"] == ["t2"]]
    taste = np.array(late[0]["features"])[LAYOUT["taste_180d"].slice]
    assert_allclose(taste, VECTORS[0], atol=1e-5)


def test_targets_are_what_was_played_next_in_order_without_repeats(examples):
    plays = [play(0, 0, 0), play(1, 3, 50), play(2, 1, 50.1), play(3, 3, 50.2), play(4, 4, 400)]
    then = T0 + timedelta(hours=50)
    made = [row for row in examples(plays, [person()], LATE) if row["as_of"] == then]
    assert [row["targets"] for row in made] == [["t3", "t1"]] * len(made) != []


def test_a_users_first_play_is_an_example_without_a_history(examples):
    made = examples([play(0, 0, 0), play(1, 3, 50)], [person()], LATE)
    first = next(row for row in made if row["as_of"] == T0)
    assert first["targets"] == ["t0", "t3"]
    assert not any(first["present"])


def test_where_nobody_was_asked_favourites_of_what_comes_after_the_targets_stand_in_for_picks(
    examples,
):
    later = [play(9 + n, item, 24 * 20 + n) for n, item in enumerate((4, 5, 0, 4))]
    plays = [play(0, 0, 0), play(1, 3, 50), *later]
    made = {row["as_of"]: row for row in examples(plays, [], LATE, stand_ins=True)}
    picks = LAYOUT.names.index("onboarding")
    first = made[T0]
    assert first["targets"] == ["t0", "t3"]
    assert first["present"] == [float(place == picks) for place in range(len(LAYOUT.names))]
    picked = unit(unit(VECTORS[4:6].sum(axis=0)[None]) + unit(VECTORS[:2].sum(axis=0)[None]))[0]
    assert_allclose(np.array(first["features"])[LAYOUT["onboarding"].slice], picked, atol=1e-5)
    assert made[max(made)]["present"][picks] == 0  # nothing comes after


def test_the_examples_of_a_user_weigh_one_together(examples):
    plays = [play(number, number % 6, 30 * number) for number in range(8)]
    plays += [play(20 + number, 1, 5 * number, user="u1") for number in range(3)]
    made = examples(plays, [person("u0"), person("u1")], LATE)
    for user in ("u0", "u1"):
        assert sum(row["weight"] for row in made if row["user_id"] == user) == pytest.approx(
            1, abs=1e-6
        )


def test_everyone_has_one_row_even_in_a_bucket_without_plays(everyone):
    picked = person("u2", picked_at=[START], picked_item=[4], picked_creator=[-1])
    rows = everyone([], [person("u9"), picked], LATE)
    assert [(row["user_id"], row["bucket"], row["as_of"]) for row in rows] == [
        ("u2", 1, LATE),
        ("u9", 1, LATE),
    ]
    names = LAYOUT.names
    assert [name for name, bit in zip(names, rows[0]["present"], strict=True) if bit] == [
        "onboarding"
    ]
    assert not any(rows[1]["present"])


def test_every_users_plays_go_to_that_user_however_the_rows_arrive(everyone):
    plays = [play(0, 0, 1, user="b"), play(1, 5, 2, user="a"), play(2, 0, 3, user="b")]
    rows = everyone(plays[::-1], [person("b"), person("c"), person("a")], LATE)
    assert [row["user_id"] for row in rows] == ["a", "b", "c"]
    tastes = np.array([row["features"] for row in rows])[:, LAYOUT["taste_7d"].slice]
    assert_allclose(tastes, [VECTORS[5], VECTORS[0], np.zeros(VECTOR_SIZE)], atol=1e-5)


def test_a_word_that_nobody_knows_goes_to_the_last_column_and_no_word_is_missing(everyone):
    rows = everyone([play(0, 0, 1) | {"surface": "car"}], [person()], LATE)
    features, present = np.array(rows[0]["features"]), rows[0]["present"]
    assert features[LAYOUT["surface"].slice].tolist() == [0, 1]
    assert present[LAYOUT.names.index("device")] == 0


def test_a_sequence_is_the_last_plays_oldest_first_with_what_is_known_of_each(sequences):
    plays = [
        play(1, 0, 1) | {"surface": "car", "device": "phone"},
        play(2, 1, 2.5) | {"ms_played": 15_000},
        play(3, 8, 26) | {"item_kind": "episode", "surface": None},
    ]
    (row,) = sequences(plays[::-1], [], LATE)
    assert row["item_ids"] == ["t0", "t1", "t8"]
    assert row["item_kinds"] == ["track", "track", "episode"]
    assert row["gaps"] == [0, 5_400, 84_600]
    assert row["hours"] == [1, 2, 2]
    assert row["completions"] == [0.5, 0.5, 1]
    assert row["surfaces"] == ["car", "home", ""]
    assert row["devices"] == ["phone", "", ""]
    assert (row["as_of"], row["bucket"]) == (LATE, BUCKET)


def test_a_play_of_unknown_length_or_of_an_item_of_unknown_length_counts_as_whole(sequences):
    plays = [play(1, 0, 1) | {"ms_played": None}, play(2, 2, 2), play(3, 3, 3), play(4, 1, 4)]
    assert sequences(plays, [], LATE)[0]["completions"] == [1, 1, 1, 1]


def test_the_times_of_plays_follow_from_the_last_one_and_the_gaps(sequences):
    plays = [play(number, 0, hours) for number, hours in enumerate((1, 5, 5.25, 90))]
    (row,) = sequences(plays, [], LATE)
    after = [*np.cumsum(row["gaps"][:0:-1])[::-1].tolist(), 0]
    times = [row["last_played_at"] - timedelta(seconds=gap) for gap in after]
    assert times == [T0 + timedelta(hours=hours) for hours in (1, 5, 5.25, 90)]


@given(DRAWN_PLAYS, DRAWN_PLAYS)
def test_each_user_who_has_played_has_a_sequence_of_his_last_plays(sequences, first, second):
    users = {"a": first, "b": second}
    plays = [
        play(number, item, hours, user=user)
        for user, drawn in users.items()
        for number, (item, hours, _) in enumerate(drawn)
    ]
    rows = sequences(plays, [person("a"), person("silent")], LATE)
    assert [row["user_id"] for row in rows] == ["a", "b"]
    for row in rows:
        own = [one for one in plays if one["user_id"] == row["user_id"]]
        own = sorted(own, key=lambda one: (one["at"], one["tie"]))[-LONGEST:]
        assert row["item_ids"] == [f"t{one['item']}" for one in own]
        assert row["gaps"][0] == 0


def test_what_a_refresh_needs_is_kept_of_those_who_have_played(everyone):
    rows = everyone([play(0, 0, 1), play(1, 1, 169)], [person("u0"), person("u1")], LATE)
    assert rows[0]["played_between"] == [START + HOUR, START + 169 * HOUR]
    assert_allclose(rows[0]["decayed_plays"], [1.5, 1 + 2 ** (-7 / 30), 1 + 2 ** (-7 / 180)])
    # Empty and not null: a gate compares shares of nulls, and silent users are no fault.
    assert (rows[1]["played_between"], rows[1]["decayed_plays"]) == ([], [])
