import numpy as np
import pytest

from evaluation.cohort import read_cohort
from evaluation.contenders import averages, popularity, user_model
from evaluation.protocols import story
from evaluation.protocols.future_listening import future_listening


@pytest.fixture
def cohort(lake, two_spaces):
    return read_cohort(lake, two_spaces()[1], 7, most=300, seed=0)


@pytest.fixture
def contenders(lake, cohort):
    known = {
        "user_model": user_model(lake, lake.batches.get("live"), cohort),
        "popularity": popularity(cohort, 128),
        **averages(cohort, 128),
    }
    return {name: (lambda one=one: one) for name, one in known.items()}


def test_vectors_near_what_is_played_next_win(cohort, contenders):
    rows, aucs = future_listening(cohort, contenders, 5, lambda _: None)
    of = {(row.protocol.split("/")[1], row.representation, row.metric): row for row in rows}
    for drawn in ("popularity", "uniform", "upcoming"):
        ours, popular = (of[drawn, name, "auc"] for name in ("user_model", "popularity"))
        assert ours.value > 0.9
        assert popular.value < 0.6
        assert of[drawn, "popularity", "auc gain"].low > 0.4
    assert of["uniform", "user_model", "recall@50"].value > 0.9
    assert ("popularity", "user_model", "recall@50") not in of
    assert aucs["user_model"].shape == (cohort.past.users,)
    assert np.nanmean(aucs["user_model"]) == pytest.approx(
        of["popularity", "user_model", "auc"].value
    )


def test_nobody_can_tell_somebody_elses_future(cohort, contenders):
    rows, _ = future_listening(cohort, contenders, 5, lambda _: None, shuffle=True)
    for row in rows:
        if row.metric == "auc":
            assert abs(row.value - 0.5) < 0.04, row


def test_the_tables_have_a_row_for_each_contender_and_the_published_gains(cohort, contenders):
    rows, _ = future_listening(cohort, contenders, 2, lambda _: None)
    table = story.table_1("popularity", rows)
    assert [row[0] for row in table.rows][:2] == ["Tasteprint's user model", "popularity"]
    average = next(row for row in table.rows if row[0] == "average of item vectors")
    assert average[-1] == "accuracy +1.8%, AUC +1.6%"
    assert all(len(row) == len(table.header) for row in table.rows)
    ranked = story.table_1("uniform", rows)
    assert "ndcg@50" in ranked.header
    assert "published" not in ranked.header


def test_some_listeners_are_told_by_what_they_play(cohort, contenders):
    table = story.people(cohort, contenders["user_model"](), cohort.item_ids)
    assert len(table.rows) == story.SHOWN
    assert all(len(row) == 3 for row in table.rows)
    said = {word.strip(";") for row in table.rows for cell in row for word in cell.split()}
    assert not said & set(cohort.user_ids)
