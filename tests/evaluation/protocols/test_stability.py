import numpy as np
import pytest
from scipy.stats import ortho_group

from evaluation.protocols.stability import COSINE, ITEMS, KEPT, USERS, figures, stability, table
from models.layout import VECTOR_SIZE
from schemas.errors import BatchError, InputError

TURN = ortho_group.rvs(VECTOR_SIZE, random_state=1)
BEFORE, AFTER, OWN = (
    f"stability/{way}" for way in ("as it is", "through the bridge", "each in its own space")
)


@pytest.fixture
def moved(lake, two_spaces):
    """A function that measures one batch against another whose space is turned and noisy."""

    def measure(**how):
        old, new = two_spaces(**how)
        return stability(lake, lake.batch(new.batch_id), lake.batch(old.batch_id))

    return measure


def values(found) -> dict[tuple[str, str, str], float]:
    return {(row.protocol, row.representation, row.metric): row.value for row in figures(found)}


def test_a_bridge_undoes_a_turn_for_users_and_items_that_it_has_not_seen(moved):
    # Fifty tracks do not span eighty directions, so those of the held-out half come back in part.
    of = values(moved(turn=TURN))
    for side, expected in ((USERS, 0.99), (ITEMS, 0.8)):
        assert of[AFTER, side, COSINE] > expected
        assert abs(of[BEFORE, side, COSINE]) < 0.5
        assert of[OWN, side, KEPT] == pytest.approx(1)
    assert of[AFTER, USERS, KEPT] > 0.9 > of[BEFORE, USERS, KEPT]


def test_what_no_turn_can_undo_stays_with_and_without_a_bridge(moved):
    of = values(moved(noise=0.6))
    assert of[BEFORE, USERS, COSINE] < 0.9
    assert of[AFTER, USERS, COSINE] < 0.9
    assert of[OWN, USERS, KEPT] < 0.9


def test_figures_tell_how_cosines_are_spread_and_how_sure_one_can_be(moved):
    found = moved(noise=0.3)
    rows = {(row.protocol, row.representation, row.metric): row for row in figures(found)}
    cosines = found[0].cosines["through the bridge"]
    assert rows[AFTER, USERS, COSINE].value == pytest.approx(cosines.mean())
    assert rows[AFTER, USERS, "cosine, median"].value == pytest.approx(np.median(cosines))
    assert rows[AFTER, USERS, "cosine, 10th percentile"].value == np.quantile(cosines, 0.1)
    assert all(row.low <= row.value <= row.high for row in rows.values())
    assert (OWN, USERS, COSINE) not in rows
    assert not any(metric.endswith("gain") for *_, metric in rows)


def test_only_the_half_that_was_not_fitted_is_measured(moved):
    users, items = moved()
    assert 80 < users.count < 160  # of 240
    assert 15 < items.count < 35  # of 50


def test_the_table_has_a_row_for_each_side_and_way(moved):
    found = moved(noise=0.3)
    told = table(found, figures(found))
    assert [row[0] for row in told.rows][:3] == [
        "users, as it is",
        "users, through the bridge",
        "users, each in its own space",
    ]
    assert len(told.rows) == 6
    assert all(len(row) == len(told.header) for row in told.rows)
    assert told.rows[2][1:4] == ["", "", ""]


def test_a_batch_has_not_moved_from_itself(lake, two_spaces):
    live = two_spaces()[1]
    with pytest.raises(BatchError, match="nothing to bridge"):
        stability(lake, live, live)


def test_where_nobody_is_left_to_be_measured_it_is_said(lake, two_spaces, monkeypatch):
    old, new = two_spaces(users=5)
    monkeypatch.setattr("evaluation.bridge.held_out", lambda ids: np.zeros(len(ids), bool))
    with pytest.raises(InputError, match="too few users"):
        stability(lake, new, old)
