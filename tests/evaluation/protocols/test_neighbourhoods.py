import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from evaluation.clusters import COUNTRY, CREATOR, GENRE, Clusters
from evaluation.contenders import LOT
from evaluation.neighbours import nearest_first
from evaluation.protocols.neighbourhoods import by_lot, ndcgs, neighbourhoods, table_3
from models.baselines import Representation

USERS, GROUPS = 60, 3
LABELS = np.arange(USERS) % GROUPS


def grouped(labels: np.ndarray, kind: str = CREATOR) -> Clusters:
    """A cluster for each number; -1 is none."""
    members = labels[:, None] == np.arange(max(labels) + 1)  # (U, K)
    return Clusters(kind, sparse.csr_array(members.astype(np.float32)))


def seen(labels: np.ndarray, noise: float) -> Representation:
    """Users near the axis of their label."""
    rng = np.random.default_rng(0)
    users = np.eye(16)[labels] + noise * rng.normal(size=(len(labels), 16))
    return Representation(users.astype(np.float32), np.zeros((1, 16), np.float32))


def test_ndcg_by_hand():
    """Four others: the first and the third of those ranked are wanted, as is one that is not."""
    clusters = grouped(np.array([0, 0, 1, 0, 0]))
    near = np.array([[1, 2, 3]] + [[0, 0, 0]] * 4)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert ndcgs(clusters, near)[0] == pytest.approx((1 + 1 / np.log2(4)) / ideal)


def test_few_wanted_others_can_be_ranked_as_well_as_can_be():
    near = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    found = ndcgs(grouped(np.array([0, 0, -1, 1])), near)
    assert_allclose(found, [1, 1, np.nan, np.nan])


def test_users_of_one_place_and_one_cluster_are_ranked_without_a_fault():
    near = nearest_first(seen(LABELS, noise=0.01).users, np.arange(USERS), 50)
    assert_allclose(ndcgs(grouped(LABELS), near), 1)


def test_what_the_lot_gives_is_what_many_shuffles_give():
    rng = np.random.default_rng(0)
    clusters = grouped(np.where(LABELS == 2, -1, LABELS))
    others = np.array([[other for other in range(USERS) if other != user] for user in range(USERS)])
    drawn = [ndcgs(clusters, rng.permuted(others, axis=1)[:, :50]) for _ in range(60)]
    expected = by_lot(clusters)
    assert np.isnan(expected).tolist() == (LABELS == 2).tolist()
    assert np.nanmean(drawn) == pytest.approx(np.nanmean(expected), abs=0.005)


def test_blocks_change_nothing(monkeypatch):
    clusters, near = grouped(LABELS), nearest_first(seen(LABELS, 1.0).users, np.arange(USERS), 50)
    whole = ndcgs(clusters, near)
    monkeypatch.setattr("evaluation.protocols.neighbourhoods.AT_ONCE", 7)
    assert_allclose(ndcgs(clusters, near), whole)


@pytest.fixture(scope="module")
def rows():
    known = {"user_model": seen(LABELS, noise=0.1), "average": seen(LABELS, noise=1.0)}
    contenders = {name: (lambda one=one: one) for name, one in known.items()}
    told: list[str] = []
    kinds = [grouped(LABELS), grouped(np.where(LABELS == 0, -1, LABELS), GENRE)]
    found = neighbourhoods(kinds, contenders, told.append)
    assert told == ["user_model", "average"]
    return found


def test_who_puts_like_with_like_wins_and_chance_is_told(rows):
    of = {(row.protocol, row.representation, row.metric): row for row in rows}
    for kind in (CREATOR, GENRE):
        protocol = f"neighbourhoods/{kind}"
        ours, average, lot = (
            of[protocol, name, "ndcg@50"].value for name in ("user_model", "average", LOT)
        )
        assert ours == pytest.approx(1)
        assert ours > average > lot
        gain = of[protocol, "average", "ndcg@50 gain"]
        assert gain.value == pytest.approx(ours / average - 1)
        assert 0 < gain.low <= gain.value <= gain.high


def test_the_published_gain_stands_beside_the_average_and_nowhere_else(rows):
    table = table_3(grouped(LABELS), rows)
    said = {row[0]: row[-1] for row in table.rows}
    assert said.pop("average of item vectors") == "+2.9%"
    assert set(said.values()) == {""}
    assert "60 users are asked, of 3 groups" in table.about
    assert "published" not in table_3(grouped(LABELS, GENRE), rows).header
    assert COUNTRY not in {row.protocol for row in rows}
