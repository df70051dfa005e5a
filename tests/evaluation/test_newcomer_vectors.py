import numpy as np
import pytest
from numpy.testing import assert_allclose

from evaluation.catalogue import read_catalogue
from evaluation.newcomer_vectors import NewcomerVectors
from evaluation.newcomers import read_newcomers
from evaluation.protocols.first_hours import beginnings, next_plays
from models.features import unit


@pytest.fixture
def people(lake, first_days):
    batch = first_days(newcomers=8, told=True)
    return read_newcomers(lake, batch, read_catalogue(lake, batch), 100, seed=0)


@pytest.fixture
def vectors(lake, people):
    batch = lake.batches.get("live")
    return NewcomerVectors.of(lake, batch, people, read_catalogue(lake, batch), None)


def test_before_the_first_play_nothing_is_known_but_what_was_told(vectors, people):
    rows = vectors._rows(beginnings(people, 4, 20))
    layout = vectors.builder.layout
    known = {name for name, bit in zip(layout.names, rows.present[1], strict=True) if bit}
    assert known == {"onboarding", "country", "account_age"}
    assert vectors.predictor.status(rows.present).tolist() == ["cold_start"] * 8


def test_a_user_is_embedded_alone_as_among_others(vectors, people):
    """As serving does it, which sees one user at a time."""
    cuts = next_plays(people, 5)
    together = dict(vectors.at(cuts))["user_model"].users
    for row in range(len(cuts.user)):
        alone = dict(vectors.at(cuts.take(np.array([row]))))["user_model"].users
        assert_allclose(alone[0], together[row], atol=1e-6)


def test_plays_from_the_cut_on_change_nothing(vectors, people):
    cuts = next_plays(people, 5)
    before = dict(vectors.at(cuts))["user_model"].users
    _, later = cuts.future
    vectors.events.item[later] = 0
    vectors.events.creator[later] = 0
    assert_allclose(dict(vectors.at(cuts))["user_model"].users, before)


def test_an_average_is_that_of_the_plays_that_were_seen(vectors, people):
    cuts = next_plays(people, 2)
    found = dict(vectors.at(cuts))
    start = cuts.start[0]
    seen = vectors.catalogue.vectors[people.item[start : start + 2]].sum(axis=0, keepdims=True)
    assert_allclose(found["average"].users[0, :80], unit(seen)[0], atol=1e-6)
    assert found["average"].users.shape == (len(cuts.user), 128)


def test_averages_are_left_out_where_there_is_nothing_to_average(vectors, people):
    begin = beginnings(people, 4, 20)
    assert list(dict(vectors.at(begin))) == ["user_model", "popularity", "picks"]
    silent = begin.take(np.flatnonzero(~people.picks.completed))
    assert list(dict(vectors.at(silent))) == ["user_model", "popularity"]


def test_the_average_of_a_pick_is_the_mean_of_the_creators_items(vectors, people):
    """Newcomer 1 of the fixture has picked creator c1."""
    picks = dict(vectors.at(beginnings(people, 4, 20)))["picks"]
    catalogue = vectors.catalogue
    own = catalogue.creator_of_item == catalogue.creators.get_loc("c1")
    mean = unit(catalogue.vectors[own].sum(axis=0, keepdims=True))[0]
    assert_allclose(picks.users[1, :80], mean, atol=1e-6)
