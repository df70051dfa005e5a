import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models.events import DAY
from tests.models.test_features import BUILDER, MOMENT, PLAYS, built, events, group, profiles

QUERIES = 4


def rows(sums):
    return BUILDER.finish(sums, profiles(QUERIES), np.full(QUERIES, MOMENT + DAY))


def whole(plays):
    return built(*plays, queries=QUERIES, moment=MOMENT + DAY)


@given(plays=PLAYS, cut=st.floats(0, 600))
def test_sums_of_earlier_plays_and_of_later_ones_are_those_of_all(plays, cut):
    before = events(*(play for play in plays if play.age > cut))
    after = events(*(play for play in plays if play.age <= cut))
    found = rows(BUILDER.sums(before, QUERIES).then(BUILDER.sums(after, QUERIES)))
    expected = whole(plays)
    assert_allclose(found.features, expected.features, atol=1e-5)
    assert np.array_equal(found.present, expected.present)
    assert_allclose(found.histories.plays, expected.histories.plays, atol=1e-9)
    for name in ("first", "last"):
        assert np.array_equal(getattr(found.histories, name), getattr(expected.histories, name))


@given(plays=PLAYS, data=st.data())
def test_all_but_interests_may_be_added_in_any_order(plays, data):
    first = [play for play in plays if data.draw(st.booleans())]
    rest = list(plays)
    for play in first:
        rest.remove(play)
    found = rows(BUILDER.sums(events(*first), QUERIES).then(BUILDER.sums(events(*rest), QUERIES)))
    expected = whole(plays)
    for one in BUILDER.layout.groups:
        if one.name != "interests":
            ours, theirs = (group(side.features, one.name) for side in (found, expected))
            assert_allclose(ours, theirs, atol=1e-5)
