from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models.events import DAY, SKIP_WEIGHT, Events, Profiles
from models.features import (
    FAVOURITES,
    FAVOURITES_SHARE,
    FeatureBuilder,
    ItemSpace,
    creator_vectors,
    unit,
)
from models.history import INTERESTS_HALF_LIFE, decay
from models.layout import AMOUNTS, CODE_SIZE, HALF_LIVES, LONGEST, VECTOR_SIZE, build_layout

LAYOUT = build_layout(
    {
        "surface": ["home", "search"],
        "device": ["phone"],
        "country": ["DE", "SE"],
        "language": ["sv"],
        "subscription": ["free"],
    }
)
ITEMS = 14
CREATOR_OF_ITEM = np.arange(ITEMS) // 2  # seven creators of two items each
VECTORS = unit(np.random.default_rng(7).standard_normal((ITEMS, VECTOR_SIZE)).astype(np.float32))
CREATORS = creator_vectors(VECTORS, CREATOR_OF_ITEM, ITEMS // 2)
CODES = np.random.default_rng(8).standard_normal((ITEMS, CODE_SIZE)).astype(np.float32)
CREATOR_CODES = np.random.default_rng(9).standard_normal((ITEMS // 2, CODE_SIZE)).astype(np.float32)
BUILDER = FeatureBuilder(LAYOUT, ItemSpace(VECTORS, CREATORS, CODES, CREATOR_CODES))
MOMENT = 20_514 * DAY  # midnight after a Sunday
DISTRIBUTIONS = ("hour", "weekday", "kind", "surface", "device")


class Play(NamedTuple):
    """One play of one query; the creator is the item's."""

    query: int
    item: int
    age: float
    weight: float = 1.0
    kind: int = 0
    surface: int = 0
    device: int = 0


def events(*plays: Play) -> Events:
    def column(name: str, dtype=np.int64) -> np.ndarray:
        return np.array([getattr(play, name) for play in plays], dtype)

    item = column("item")
    return Events(
        query=column("query"),
        item=item,
        creator=np.where(item >= 0, item // 2, -1),
        at=MOMENT - np.round(column("age", float) * DAY).astype(np.int64),
        weight=column("weight", float),
        **{name: column(name) for name in ("kind", "surface", "device")},
    )


def profiles(queries: int, **told) -> Profiles:
    """What is known of users who told nothing else."""
    untold = np.full(queries, -1)
    nothing = dict.fromkeys(("country", "language", "subscription"), untold)
    numbers = dict.fromkeys(("age", "account_age"), np.full(queries, np.nan))
    picks = dict.fromkeys(("pick_query", "pick_item", "pick_creator"), np.zeros(0, np.int64))
    return Profiles(**nothing | numbers | picks | {name: np.array(of) for name, of in told.items()})


def built(*plays: Play, queries: int = 1, told: Profiles | None = None, moment: int = MOMENT):
    moments = np.full(queries, moment)
    return BUILDER.rows(events(*plays), told or profiles(queries), moments)


def rows(*plays: Play, queries: int = 1, told: Profiles | None = None):
    found = built(*plays, queries=queries, told=told)
    return found.features, found.present


def group(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, LAYOUT[name].slice]


def known(present: np.ndarray, row: int = 0) -> set[str]:
    return {name for name, bit in zip(LAYOUT.names, present[row], strict=True) if bit}


def amount(features: np.ndarray, name: str) -> float:
    return group(features, "amounts")[0, list(AMOUNTS).index(name)]


PLAYS = st.lists(
    st.builds(
        Play,
        query=st.integers(0, 3),
        item=st.integers(-1, ITEMS - 1),
        age=st.integers(0, 4_000).map(lambda hours: hours / 7),
        weight=st.sampled_from([SKIP_WEIGHT, 0.5, 1.0]),
        kind=st.integers(-1, 1),
        surface=st.integers(-1, 2),
        device=st.integers(-1, 1),
    ),
    max_size=30,
)


@pytest.mark.parametrize("half_life", HALF_LIVES.values())
def test_an_event_counts_half_after_one_half_life(half_life):
    assert decay(np.array([0.0, half_life, 2 * half_life]), half_life).tolist() == [1, 0.5, 0.25]


@pytest.mark.parametrize(("name", "half_life"), HALF_LIVES.items())
def test_taste_is_the_sum_of_what_was_played_each_halved_by_its_age(name, half_life):
    features, _ = rows(Play(0, 0, age=3.0), Play(0, 5, age=3.0 + half_life))
    assert_allclose(group(features, name), unit((VECTORS[0] + VECTORS[5] / 2)[None]), atol=1e-6)


def test_plays_of_one_half_life_ago_are_half_as_many():
    features, _ = rows(Play(0, 0, age=7.0), Play(0, 1, age=7.0))
    assert amount(features, "log plays at 7 days") == pytest.approx(np.log1p(2 * 0.5))


def test_a_history_of_long_ago_still_points_where_it_did():
    fresh, _ = rows(Play(0, 0, age=0.0), Play(0, 5, age=1.0))
    old, _ = rows(Play(0, 0, age=9_000.0), Play(0, 5, age=9_001.0))
    for name in HALF_LIVES:
        assert_allclose(group(old, name), group(fresh, name), atol=1e-5)


def test_taste_leans_away_from_what_was_skipped():
    features, _ = rows(Play(0, 0, age=1.0), Play(0, 5, age=1.0, weight=SKIP_WEIGHT))
    taste = group(features, "taste_30d")[0]
    assert_allclose(taste, unit((VECTORS[0] + SKIP_WEIGHT * VECTORS[5])[None])[0], atol=1e-6)
    assert taste @ VECTORS[0] > taste @ VECTORS[5]


@given(plays=PLAYS, query=st.integers(0, 3))
def test_a_user_alone_has_the_row_that_he_has_among_many(plays, query):
    together, bits = rows(*plays, queries=4)
    own = [play._replace(query=0) for play in plays if play.query == query]
    alone, own_bits = rows(*own)
    assert_allclose(alone[0], together[query], atol=1e-5)
    assert own_bits[0].tolist() == bits[query].tolist()


@given(plays=PLAYS, data=st.data())
def test_the_order_of_events_changes_nothing(plays, data):
    shuffled = data.draw(st.permutations(plays))
    before, bits = rows(*plays, queries=4)
    after, same_bits = rows(*shuffled, queries=4)
    assert_allclose(after, before, atol=1e-5)
    assert same_bits.tolist() == bits.tolist()


@given(plays=PLAYS)
def test_every_known_distribution_sums_to_one_and_every_known_vector_has_length_one(plays):
    features, present = rows(*plays, queries=4)
    for position, one in enumerate(LAYOUT.groups):
        values, bits = features[:, one.slice], present[:, position]
        if one.kind == "distribution":
            assert_allclose(values.sum(axis=1), bits, atol=1e-6)
        if one.kind == "vector":
            assert_allclose(np.linalg.norm(values, axis=1), bits, atol=1e-5)


@given(plays=PLAYS)
def test_missing_groups_are_zeros_and_nothing_is_nan(plays):
    features, present = rows(*plays, queries=4)
    assert np.isfinite(features).all()
    missing = np.repeat(present == 0, [one.width for one in LAYOUT.groups], axis=1)
    assert not features[missing].any()


def test_of_a_user_without_anything_nothing_is_known():
    features, present = rows()
    assert known(present) == set()
    assert not features.any()


def test_no_queries_give_no_rows():
    features, present = rows(queries=0)
    assert features.shape == (0, LAYOUT.width)
    assert present.shape == (0, len(LAYOUT.groups))


def test_of_a_user_with_picks_only_the_onboarding_is_known():
    told = profiles(1, pick_query=[0, 0], pick_item=[3, -1], pick_creator=[-1, 0])
    features, present = rows(told=told)
    assert known(present) == {"onboarding"}
    assert_allclose(
        group(features, "onboarding"), unit((VECTORS[3] + CREATORS[0])[None]), atol=1e-6
    )


def test_of_a_user_with_a_profile_only_what_he_told_is_known():
    columns = {"country": LAYOUT["country"].index(["SE"]), "subscription": [0]}
    told = profiles(1, **columns, age=[30.0], account_age=[9.0])
    features, present = rows(told=told)
    assert known(present) == {"country", "subscription", "age", "account_age"}
    assert LAYOUT["country"].columns[group(features, "country")[0].argmax()] == "SE"
    assert LAYOUT["age"].columns[group(features, "age")[0].argmax()] == "from 25"
    assert group(features, "account_age") == pytest.approx(np.log1p(9.0))


@pytest.mark.parametrize(("age", "band"), [(-3, 0), (17, 0), (18, 1), (64, 5), (65, 6), (120, 6)])
def test_an_age_band_begins_with_its_first_year(age, band):
    features, _ = rows(told=profiles(1, age=[float(age)]))
    assert group(features, "age")[0].argmax() == band


def test_a_play_of_an_item_without_a_vector_counts_as_a_play_but_has_no_taste():
    features, present = rows(Play(0, -1, age=1.0))
    assert known(present) == {"amounts", *DISTRIBUTIONS}
    assert amount(features, "log plays at 180 days") > 0


def test_favourite_creators_are_the_five_that_were_played_most():
    # Creator c is played c + 1 times: of the seven creators, 0 and 1 are no favourites.
    plays = [Play(0, 2 * creator, age=1.0) for creator in range(7) for _ in range(creator + 1)]
    features, _ = rows(*plays)
    chosen = range(7 - FAVOURITES, 7)
    total = sum((creator + 1) * CREATORS[creator] for creator in chosen)
    assert_allclose(group(features, "creators"), unit(total[None]), atol=1e-5)


def test_of_creators_played_alike_the_order_of_the_plays_does_not_choose():
    plays = [Play(0, 2 * creator, age) for creator in range(7) for age in (3.1, 8.7, 55.9, 101.3)]
    rng = np.random.default_rng(0)
    expected = unit(CREATORS[:FAVOURITES].sum(axis=0)[None])
    for _ in range(20):
        features, _ = rows(*(plays[place] for place in rng.permutation(len(plays))))
        assert_allclose(group(features, "creators"), expected, atol=1e-5)


def test_interests_are_where_the_last_plays_lay_and_half_as_much_where_favourites_lie():
    features, _ = rows(Play(0, 0, age=7), Play(0, 2, age=0), Play(0, 2, age=0, weight=0.5))
    of_late = unit((2 ** (-2 / INTERESTS_HALF_LIFE) * CODES[0] + 1.5 * CODES[2])[None])[0]
    kept = 2 ** (-7 / LONGEST)
    liked = unit((kept * CREATOR_CODES[0] + 1.5 * CREATOR_CODES[1])[None])[0]
    expected = unit((of_late + FAVOURITES_SHARE * liked)[None])[0]
    assert_allclose(group(features, "interests")[0], expected, atol=1e-5)


def test_interests_fade_by_plays_and_not_by_days():
    slow = [
        Play(query, item, age=age) for query in (0, 1) for item, age in ((0, 3), (4, 2), (2, 1))
    ]
    quick = [Play(0, item, age=1e-3 * age) for item, age in ((0, 3), (4, 2), (2, 1))]
    expected = group(rows(*quick, queries=1)[0], "interests")[0]
    rng = np.random.default_rng(0)
    for _ in range(5):
        mixed = [slow[place] for place in rng.permutation(len(slow))]
        found = group(rows(*mixed, queries=2)[0], "interests")
        assert_allclose(found, [expected, expected], atol=1e-2)  # favourites go by days


def test_each_user_has_favourites_of_his_own():
    features, _ = rows(Play(0, 0, age=1.0), Play(2, 4, age=1.0), queries=3)
    assert_allclose(group(features, "creators")[[0, 2]], CREATORS[[0, 2]], atol=1e-5)
    assert not group(features, "creators")[1].any()


def test_hours_weigh_by_what_was_played_in_them():
    eight, twenty = Play(0, 0, age=16 / 24), Play(0, 1, age=4 / 24, weight=0.5)
    features, _ = rows(eight, twenty)
    hours = group(features, "hour")[0]
    share = 0.5 / (0.5 + decay(np.array(0.5), 180.0))
    assert_allclose(hours[[8, 20]], [1 - share, share], atol=1e-6)


def test_hours_and_weekdays_are_those_of_utc():
    features, _ = rows(Play(0, 0, age=1 / 24))
    assert group(features, "hour")[0].argmax() == 23
    assert LAYOUT["weekday"].columns[group(features, "weekday")[0].argmax()] == "sun"


def test_amounts_say_how_much_how_varied_and_how_recent():
    features, _ = rows(Play(0, 0, 2.0), Play(0, 0, 2.0), Play(0, 2, 2.0), Play(0, 2, 10.0))
    assert amount(features, "log distinct items") == pytest.approx(np.log1p(2))
    assert amount(features, "distinct items per play") == pytest.approx(0.5)
    assert amount(features, "log days since the last play") == pytest.approx(np.log1p(2.0))
    assert amount(features, "log days since the first play") == pytest.approx(np.log1p(10.0))


def test_evenness_is_one_for_equal_shares_and_zero_for_one_creator():
    even, _ = rows(*[Play(0, 2 * creator, age=1.0) for creator in range(4)])
    one, _ = rows(*[Play(0, item, age=1.0) for item in (0, 1, 0)])
    assert amount(even, "evenness over creators") == pytest.approx(1.0)
    assert amount(one, "evenness over creators") == pytest.approx(0.0)


def test_a_creator_is_the_mean_of_its_items_and_zero_without_any():
    found = creator_vectors(VECTORS[:3], np.array([0, 0, -1]), 2)
    assert_allclose(found[0], unit((VECTORS[0] + VECTORS[1])[None])[0], atol=1e-6)
    assert not found[1].any()


def test_taken_events_keep_what_they_are_and_count_for_other_queries():
    both = events(Play(0, 3, 5.0), Play(0, 4, 6.0))
    taken = both.take(np.array([1]), query=np.array([7]))
    assert (taken.item.tolist(), taken.creator.tolist(), taken.query.tolist()) == ([4], [2], [7])
    assert taken.at.tolist() == both.at[1:].tolist()


LATER = st.floats(0, 900).map(lambda days: MOMENT + round(days * DAY))


@given(plays=PLAYS, moment=LATER)
def test_without_new_plays_a_row_goes_on_to_a_later_moment_as_if_all_were_computed(plays, moment):
    then = profiles(4, age=[17.0] * 4, account_age=[1.0] * 4)
    now = profiles(
        4, age=[18.0] * 4, account_age=[99.0] * 4, pick_query=[2], pick_item=[3], pick_creator=[-1]
    )
    before = built(*plays, queries=4, told=then)
    found = BUILDER.later(before, now, np.full(4, moment))
    expected = built(*plays, queries=4, told=now, moment=moment)
    assert_allclose(found.features, expected.features, atol=1e-7)
    assert found.present.tolist() == expected.present.tolist()


def test_going_on_day_by_day_for_a_year_adds_up_no_error():
    plays = [Play(0, number % ITEMS, age=number / 50) for number in range(9_000)]
    row = built(*plays)
    for day in range(365):
        row = BUILDER.later(row, profiles(1), np.array([MOMENT + (day + 1) * DAY]))
    expected = built(*plays, moment=MOMENT + 365 * DAY)
    assert_allclose(row.features, expected.features, atol=1e-7)


def test_the_row_of_a_user_is_the_same_to_the_last_bit_whoever_else_is_computed():
    rng = np.random.default_rng(3)
    mine = [Play(1, int(item), age=float(rng.random())) for item in rng.integers(0, ITEMS, 500)]
    others = [Play(query, 1, age=2.0) for query in (0, 2) for _ in range(77)]
    together = built(*others[:77], *mine, *others[77:], queries=3)
    alone = built(*(play._replace(query=0) for play in mine))
    assert together.features[1].tolist() == alone.features[0].tolist()
