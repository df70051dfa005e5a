import numpy as np
import pyarrow as pa
import pytest

from evaluation.cohort import read_cohort
from evaluation.slices import sliced
from schemas.contract import contract
from tests.conftest import MOMENT


@pytest.fixture
def told(lake, two_spaces):
    """Listeners of two countries; the batch knows of them."""
    batch = two_spaces(users=60)[1]
    rows = [
        {"user_id": f"u{n}", "country": "SE" if n < 30 else "DE", "registered_at": MOMENT}
        for n in range(60)
    ]
    lake.append("users", pa.Table.from_pylist(rows, schema=contract("users").arrow_schema))
    return batch.model_copy(
        update={"parents": {**batch.parents, "users": lake.open("users").version()}}
    )


def test_a_slice_that_is_served_worse_is_marked(lake, told):
    cohort = read_cohort(lake, told, 7, most=100, seed=0)
    swedish = np.array([int(user[1:]) < 30 for user in cohort.user_ids])
    found = {one.name: one for one in sliced(lake, told, cohort, np.where(swedish, 0.9, 0.7))}
    assert found["DE"].behind
    assert not found["SE"].behind
    assert (found["SE"].users, found["DE"].auc) == (30, pytest.approx(0.7))
    assert found["0 to 29 days"].users == 60
    assert found["0 to 9 plays"].users == 60


def test_users_who_were_not_asked_and_slices_of_few_are_left_out(lake, told):
    cohort = read_cohort(lake, told, 7, most=100, seed=0)
    swedish = np.array([int(user[1:]) < 30 for user in cohort.user_ids])
    names = {one.name for one in sliced(lake, told, cohort, np.where(swedish, 0.9, np.nan))}
    assert "SE" in names
    assert "DE" not in names


def test_without_a_table_of_users_activity_is_what_there_is(lake, two_spaces):
    batch = two_spaces(users=60)[1]
    cohort = read_cohort(lake, batch, 7, most=100, seed=0)
    assert {one.kind for one in sliced(lake, batch, cohort, np.full(60, 0.8))} == {"plays before"}
