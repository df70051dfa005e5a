from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from jobs.bucket import BucketFeatures, choose_cuts
from jobs.cooccurrence import WHOLE
from models.features import FeatureBuilder, creator_vectors, unit
from models.layout import VECTOR_SIZE, build_layout

T0 = datetime(2026, 3, 1, tzinfo=UTC)
START = T0.timestamp()
HOUR, DAY = 3600.0, 86_400.0
GAP, MOST, HORIZON = HOUR / 2, 2, 7.0
FOLD = 3
LAYOUT = build_layout({"surface": ["home"], "country": ["SE"]})
VECTORS = unit(np.random.default_rng(7).standard_normal((6, VECTOR_SIZE)).astype(np.float32))
BUILDER = FeatureBuilder(LAYOUT, VECTORS, creator_vectors(VECTORS, np.arange(6) // 2, 3))

# Whole quarters of an hour make equal moments, sessions and silences likely.
MOMENTS = st.lists(
    st.integers(0, 3000).map(lambda quarters: START + quarters * HOUR / 4), max_size=12
)
HISTORIES = st.lists(MOMENTS, min_size=1, max_size=4)


def ordered(histories: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    user = np.repeat(np.arange(len(histories)), [len(own) for own in histories])
    return user, np.array([moment for own in histories for moment in sorted(own)], float)


def cuts_of(histories: list[list[float]], most: int = MOST):
    user, at = ordered(histories)
    return user, at, choose_cuts(user, at, GAP, most, HORIZON)


@given(HISTORIES)
def test_every_cut_has_a_history_of_its_own_user_that_lies_before_it(histories):
    user, at, cuts = cuts_of(histories)
    for whose, start, cut in zip(cuts.user, cuts.start, cuts.at, strict=True):
        assert start < cut
        assert (user[start:cut] == whose).all()
        assert start == 0 or user[start - 1] != whose
        assert (at[start:cut] < at[cut]).all()


@given(HISTORIES)
def test_the_targets_are_all_of_the_users_plays_within_the_horizon(histories):
    user, at, cuts = cuts_of(histories)
    for whose, cut, stop in zip(cuts.user, cuts.at, cuts.stop, strict=True):
        within = (user == whose) & (at >= at[cut]) & (at <= at[cut] + HORIZON * DAY)
        assert np.flatnonzero(within).tolist() == list(range(cut, stop))


@given(HISTORIES, st.integers(0, 3))
def test_of_each_user_so_many_sessions_and_so_many_other_plays_are_cuts(histories, most):
    user, at, cuts = cuts_of(histories, most)
    for whose in range(len(histories)):
        # The first play of a user has no history, nor has what was played at the same moment.
        later = [place for place in np.flatnonzero(user == whose)[1:] if at[place] > at[place - 1]]
        begins = {place for place in later if at[place] - at[place - 1] > GAP}
        mine = set(cuts.at[cuts.user == whose].tolist())
        assert len(mine & begins) == min(most, len(begins))
        assert len(mine - begins) == min(most, len(later) - len(begins))


@given(HISTORIES)
def test_no_two_cuts_of_a_user_are_at_the_same_moment(histories):
    _, at, cuts = cuts_of(histories, most=9)
    pairs = list(zip(cuts.user.tolist(), at[cuts.at].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


@given(HISTORIES)
def test_the_cuts_of_a_user_do_not_depend_on_the_others(histories):
    _, at, together = cuts_of(histories)
    for whose, own in enumerate(histories):
        _, own_at, alone = cuts_of([own])
        mine = together.at[together.user == whose]
        assert at[mine].tolist() == own_at[alone.at].tolist()


def test_the_first_play_after_a_silence_is_a_cut_and_the_very_first_never_is():
    _, _, cuts = cuts_of([[START, START + HOUR]], most=1)
    assert (cuts.start.tolist(), cuts.at.tolist(), cuts.stop.tolist()) == ([0], [1], [2])


def test_without_plays_there_are_no_cuts():
    _, _, cuts = cuts_of([[]])
    assert len(cuts.at) == 0


def play(
    number: int, item: int, hours: float, learned: float | None = None, user: str = "u0"
) -> dict:
    """One play, so many hours after the beginning; learned of so many hours after it."""
    return {
        "user_id": user,
        "event_id": f"e{number:03d}",
        "item_id": f"t{item}",
        "item": item,
        "creator": item // 2,
        "played_at": START + hours * HOUR,
        "ingested_at": START + (hours if learned is None else learned) * HOUR,
        "ms_played": 60_000.0,
        "item_kind": "track",
        "surface": "home",
        "device": None,
    }


def person(user: str = "u0", **changes) -> dict:
    nothing = dict.fromkeys(("country", "language", "subscription"))
    numbers = {"registered_at": None, "birth_year": None}
    picks = {"picked_at": None, "picked_item": None, "picked_creator": None}
    row = {"user_id": user, "bucket": 1, "fold": FOLD, "validation": False}
    return row | nothing | numbers | picks | changes


PLAYS = pa.schema(
    [
        *((name, pa.string()) for name in ("user_id", "event_id", "item_id")),
        *((name, pa.int32()) for name in ("item", "creator")),
        *((name, pa.float64()) for name in ("played_at", "ingested_at", "ms_played")),
        *((name, pa.string()) for name in ("item_kind", "surface", "device")),
    ]
)
TOLD = pa.schema(
    [
        ("user_id", pa.string()),
        ("bucket", pa.int32()),
        ("fold", pa.int32()),
        ("validation", pa.bool_()),
        *((name, pa.string()) for name in ("country", "language", "subscription")),
        *((name, pa.float64()) for name in ("registered_at", "birth_year")),
        ("picked_at", pa.list_(pa.float64())),
        *((name, pa.list_(pa.int32())) for name in ("picked_item", "picked_creator")),
    ]
)


def built(plays: list[dict], people: list[dict], as_of: datetime) -> list[dict]:
    compute = BucketFeatures(
        layout=LAYOUT,
        as_of=as_of,
        creators=3,
        horizon_days=HORIZON,
        session_gap=GAP / 60,
        cuts=MOST,
        vectors={},
        creator_of_item="",
        _builders={WHOLE: BUILDER, FOLD: BUILDER},
    )
    tables = pa.Table.from_pylist(plays, schema=PLAYS), pa.Table.from_pylist(people, schema=TOLD)
    return compute(*tables).to_pylist()


def examples(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["targets"] is not None]


def everyone(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["targets"] is None]


LATE = T0 + timedelta(days=40)
DRAWN_PLAYS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 300), st.integers(0, 48)), min_size=1, max_size=10
)


@given(DRAWN_PLAYS)
def test_an_example_is_the_row_that_the_user_would_have_had_at_that_moment(drawn):
    plays = [
        play(number, item, hours, learned=hours + late)
        for number, (item, hours, late) in enumerate(drawn)
    ]
    told = person(country="SE", registered_at=START + 60 * HOUR, birth_year=1990.0) | {
        "picked_at": [START, START + 100 * HOUR],
        "picked_item": [2, 5],
        "picked_creator": [-1, -1],
    }
    for example in examples(built(plays, [told], LATE)):
        moment = example["as_of"].timestamp()
        known = [row for row in plays if row["played_at"] < moment and row["ingested_at"] <= moment]
        then = everyone(built(known, [told], example["as_of"]))[0]
        assert_allclose(example["features"], then["features"], atol=1e-5)
        assert example["present"] == then["present"]


def test_what_was_learned_later_does_not_count_though_it_was_played_before():
    plays = [play(0, 0, 0), play(1, 1, 1, learned=90), play(2, 2, 50)]
    late = [row for row in examples(built(plays, [person()], LATE)) if row["targets"] == ["t2"]]
    taste = np.array(late[0]["features"])[LAYOUT["taste_180d"].slice]
    assert_allclose(taste, VECTORS[0], atol=1e-5)


def test_targets_are_what_was_played_next_in_order_without_repeats():
    plays = [play(0, 0, 0), play(1, 3, 50), play(2, 1, 50.1), play(3, 3, 50.2), play(4, 4, 400)]
    first = min(examples(built(plays, [person()], LATE)), key=lambda row: row["as_of"])
    assert first["as_of"] == T0 + timedelta(hours=50)
    assert first["targets"] == ["t3", "t1"]


def test_the_examples_of_a_user_weigh_one_together():
    plays = [play(number, number % 6, 30 * number) for number in range(8)]
    plays += [play(20 + number, 1, 5 * number, user="u1") for number in range(3)]
    made = examples(built(plays, [person("u0"), person("u1")], LATE))
    for user in ("u0", "u1"):
        assert sum(row["weight"] for row in made if row["user_id"] == user) == pytest.approx(
            1, abs=1e-6
        )


def test_everyone_has_one_row_even_in_a_bucket_without_plays():
    picked = person("u2", picked_at=[START], picked_item=[4], picked_creator=[-1])
    rows = built([], [person("u9"), picked], LATE)
    assert [(row["user_id"], row["bucket"], row["as_of"]) for row in rows] == [
        ("u2", 1, LATE),
        ("u9", 1, LATE),
    ]
    names = LAYOUT.names
    assert [name for name, bit in zip(names, rows[0]["present"], strict=True) if bit] == [
        "onboarding"
    ]
    assert not any(rows[1]["present"])


def test_every_users_plays_go_to_that_user_however_the_rows_arrive():
    plays = [play(0, 0, 1, user="b"), play(1, 5, 2, user="a"), play(2, 0, 3, user="b")]
    rows = everyone(built(plays[::-1], [person("b"), person("c"), person("a")], LATE))
    assert [row["user_id"] for row in rows] == ["a", "b", "c"]
    tastes = np.array([row["features"] for row in rows])[:, LAYOUT["taste_7d"].slice]
    assert_allclose(tastes, [VECTORS[5], VECTORS[0], np.zeros(VECTOR_SIZE)], atol=1e-5)


def test_hours_and_weekdays_are_those_of_utc():
    rows = everyone(built([play(0, 0, 23)], [person()], LATE))  # a Sunday
    features = np.array(rows[0]["features"])
    assert features[LAYOUT["hour"].slice].argmax() == 23
    assert LAYOUT["weekday"].columns[features[LAYOUT["weekday"].slice].argmax()] == "sun"


def test_a_word_that_nobody_knows_goes_to_the_last_column_and_no_word_is_missing():
    rows = everyone(built([play(0, 0, 1) | {"surface": "car"}], [person()], LATE))
    features, present = np.array(rows[0]["features"]), rows[0]["present"]
    assert features[LAYOUT["surface"].slice].tolist() == [0, 1]
    assert present[LAYOUT.names.index("device")] == 0
