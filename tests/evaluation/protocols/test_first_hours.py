import numpy as np
import pyarrow as pa
import pytest

from evaluation.catalogue import Catalogue, plays_by_country, read_catalogue
from evaluation.newcomer_vectors import NewcomerVectors
from evaluation.newcomers import Newcomers, read_newcomers
from evaluation.picks import Picks
from evaluation.protocols import first_hours_story as story
from evaluation.protocols.first_hours import (
    beginnings,
    first_hours,
    next_plays,
    planned,
    question_of,
)
from models.cuts import Cuts
from models.events import HOUR


@pytest.fixture
def measure(lake, first_days):
    """Goes the whole way over a lakehouse; returns the plan and figures by protocol."""

    def made(*, told: bool = False, shuffle: bool = False):
        batch = first_days(told=told)
        catalogue = read_catalogue(lake, batch)
        people = read_newcomers(lake, batch, catalogue, 1000, seed=0)
        country = people.profiles["country"].to_numpy(zero_copy_only=False)
        countries = plays_by_country(lake, batch, catalogue, country)
        plan = planned(people, catalogue, hours=4, first=20)
        vectors = NewcomerVectors.of(lake, batch, plan.people, catalogue, countries)
        rows = first_hours(plan, vectors, 2, lambda _: None, shuffle=shuffle)
        of = {(row.protocol, row.representation, row.metric): row for row in rows}
        return plan, rows, of

    return made


def some_plays(*ends_of: int, minutes: int = 30) -> Newcomers:
    """Newcomers who play so many items each, item after item, one every so many minutes."""
    user = np.repeat(np.arange(len(ends_of)), ends_of)
    number = np.arange(len(user)) - np.searchsorted(user, user)
    none = np.zeros(0, np.int64)
    return Newcomers(
        user_ids=np.array([f"u{row}" for row in range(len(ends_of))]),
        user=user,
        item=number,
        at=number * minutes * HOUR // 60,
        weight=np.ones(len(user)),
        habits=pa.table({}),
        profiles=pa.table({}),
        picks=Picks(none, none, none, none, np.zeros(len(ends_of), bool)),
    )


def items(count: int, unplayed: tuple[int, ...] = ()) -> Catalogue:
    plays = np.ones(count)
    plays[list(unplayed)] = 0
    creator = np.arange(count) // 10
    return Catalogue([*range(count)], [*range(creator.max() + 1)], np.eye(count), creator, plays)


def test_the_first_hours_are_asked_about_or_the_first_plays_where_they_are_more():
    people = some_plays(30, 6)
    assert beginnings(people, hours=4, first=3).stop.tolist() == [8, 36]
    assert beginnings(people, hours=4, first=20).stop.tolist() == [20, 36]
    assert beginnings(people, hours=0, first=2).stop.tolist() == [2, 32]
    assert beginnings(people, hours=4, first=3).at.tolist() == [0, 30]


def test_after_some_plays_the_next_twenty_are_asked_of_whom_has_as_many():
    cuts = next_plays(some_plays(24, 25, 40), 5)
    assert cuts.user.tolist() == [1, 2]
    assert [part.tolist() for part in (cuts.start, cuts.at, cuts.stop)] == [
        [24, 49],
        [29, 54],
        [49, 74],
    ]


def test_answers_are_distinct_and_known_and_what_is_seen_or_asked_is_no_negative():
    people = some_plays(6)
    people.item[:] = [4, 0, 1, 1, -1, 2]
    one = Cuts(*(np.array([value]) for value in (0, 0, 1, 5)))
    question = question_of(people, items(8, unplayed=(0,)), one)
    assert [own.tolist() for own in question.positives] == [[1]]
    assert [own.tolist() for own in question.excluded] == [[-1, 0, 1, 4]]
    assert question.weight.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


def test_stand_ins_come_from_plays_behind_everything_that_is_asked_about():
    """Items are played in order, ten by each creator: the picks say how late the plays were."""
    plan = planned(some_plays(100, 26, 12), items(100), hours=4, first=20)
    picks = plan.people.picks
    assert plan.stand_in
    assert picks.user.tolist() == [0, 0, 0, 1]
    assert picks.creator.tolist() == [7, 8, 9, 2]  # 50 seen and 20 asked; 5 seen and 20 asked
    assert plan.asked["completed"].user.tolist() == [0, 1]
    assert plan.asked["not completed"].user.tolist() == [2]
    assert plan.asked["seen 50"].user.tolist() == [0]
    assert plan.measured == {}


def test_the_model_knows_newcomers_by_their_picks_and_better_by_their_plays(measure):
    plan, rows, of = measure()
    assert {row.protocol for row in rows} == {
        f"first_hours/{name}"
        for name in (
            "completed",
            "not completed",
            "seen 0",
            "seen 1",
            "seen 2",
            "seen 5",
            "seen 10",
        )
    }
    assert len(plan.asked["completed"].user) == 120
    assert len(plan.asked["not completed"].user) == 40
    for name in ("completed", "seen 0", "seen 10"):
        protocol = f"first_hours/{name}"
        assert of[protocol, "user_model", "auc"].value > 0.9
        assert of[protocol, "popularity", "auc"].value < 0.6
        assert of[protocol, "popularity", "auc gain"].low > 0.4
    assert of["first_hours/not completed", "user_model", "auc"].value < 0.6
    assert ("first_hours/not completed", "picks", "auc") not in of
    assert ("first_hours/seen 0", "average", "auc") not in of
    assert of["first_hours/seen 1", "average_7d", "auc of dot products"].value > 0.9


def test_what_a_country_plays_is_compared_where_newcomers_tell_theirs(measure):
    plan, _, of = measure(told=True)
    assert not plan.stand_in
    assert len(plan.asked["not completed"].user) == 40
    for name in ("completed", "not completed"):
        assert of[f"first_hours/{name}", "country", "auc"].value > 0.9
        assert of[f"first_hours/{name}", "popularity", "auc"].value < 0.6
    assert ("first_hours/seen 0", "country", "auc") not in of


@pytest.mark.parametrize("told", [False, True])
def test_nobody_can_tell_somebody_elses_first_hours(measure, told):
    """In a world of fifty items chance moves a mean by some hundredths; a leak would by tenths."""
    _, rows, _ = measure(told=told, shuffle=True)
    for row in rows:
        if row.metric == "auc":
            assert abs(row.value - 0.5) < 0.07, row


def test_the_tables_say_what_was_published_and_what_is_left_out(measure):
    pytest.importorskip("plotly")
    plan, rows, _ = measure()
    completed, missed, curve = story.tables(plan, rows)
    assert completed.title == "Table 2, onboarding completed: 120 users"
    picks = next(row for row in completed.rows if row[0] == "average of what was picked")
    assert picks[-1] == "accuracy +5.0%, AUC +5.1%"
    assert missed.rows[1][-1] == "accuracy +24.6%, AUC +24.7%"
    assert {row[0] for row in curve.rows} == {"0", "1", "2", "5", "10"}
    for table in (completed, missed, curve):
        assert all(len(row) == len(table.header) for row in table.rows)
    said = story.facts(plan)
    assert said["left out, below 30 users"] == "seen 50 0, seen 200 0"
    assert "stand in" in said["picks"]
    drawn = story.picture(plan, rows)
    assert 'id="first-hours"' in drawn.html
    assert "decayed average, 7 days" in drawn.html
