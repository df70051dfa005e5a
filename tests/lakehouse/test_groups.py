import json
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lakehouse.groups import FEWEST, groups_of, lengths_of, shared_groups
from lakehouse.profile import Profile

USERS = 200


def layout(**groups) -> dict:
    found, start = {}, 0
    for name, (kind, *columns) in groups.items():
        found[name] = {"name": name, "kind": kind, "start": start, "columns": columns}
        start += len(columns)
    return found


OURS = layout(taste=("vector", "a", "b"), country=("category", "NO", "SE", "other"))
THEIRS = layout(country=("category", "DE", "SE", "other"), taste=("vector", "a", "b"))


def sample(layout: dict, bits: dict | None = None, **values) -> Profile:
    """Users in the order of their ids; of each group its values, and who has it."""
    everybody = np.ones(USERS)
    return Profile(
        rows=USERS,
        ids=np.array([f"u{number:03d}" for number in range(USERS)], object),
        vectors=np.hstack([values[name] for name in layout]).astype(np.float32),
        groups=np.column_stack([(bits or {}).get(name, everybody) for name in layout]),
    )


def one_hot(places) -> np.ndarray:
    return np.eye(3)[np.resize(places, USERS)]


def taste(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((USERS, 2))


def compared(now: Profile, live: Profile) -> dict:
    return {group.name: group for group in shared_groups(now, live, OURS, THEIRS)}


def test_groups_lie_in_the_order_of_the_layout():
    batch = SimpleNamespace(layout=json.dumps({"groups": list(OURS.values())}))
    assert list(groups_of(batch)) == ["taste", "country"]
    assert lengths_of(OURS) == {"features": 5, "present": 2}


@pytest.mark.parametrize("batch", [None, SimpleNamespace(layout=None)])
def test_a_batch_without_a_layout_has_no_groups(batch):
    assert groups_of(batch) == {}


def test_groups_are_found_by_name_wherever_they_lie():
    now = sample(OURS, taste=taste(), country=one_hot([1]))
    live = sample(THEIRS, taste=taste(), country=one_hot([1]))
    found = compared(now, live)
    assert_allclose(found["taste"].now, found["taste"].live)
    assert found["taste"].kept() == pytest.approx(1)
    assert list(found["taste"].drifts({})) == ["cosine of two users"]


def test_a_value_with_a_column_on_one_side_alone_is_other_on_both():
    now = sample(OURS, taste=taste(), country=one_hot([0, 0, 1, 2]))
    live = sample(THEIRS, taste=taste(), country=one_hot([2, 2, 1, 0]))
    country = compared(now, live)["country"]
    assert country.columns == ("SE", "other")
    assert_allclose(country.now, country.live)
    assert {drift.ks for drift in country.drifts({}).values()} == {0}


def test_only_users_who_have_a_group_are_compared_in_it():
    bits = {"country": np.arange(USERS) < FEWEST}
    now = sample(OURS, bits, taste=taste(), country=one_hot([1]))
    live = sample(THEIRS, taste=taste(), country=one_hot([1]))
    country = compared(now, live)["country"]
    assert (len(country.now), len(country.live)) == (FEWEST, USERS)
    assert country.now_ids.tolist() == live.ids[:FEWEST].tolist()


def test_a_group_that_few_have_is_not_compared():
    bits = {"country": np.arange(USERS) < FEWEST - 1}
    now = sample(OURS, bits, taste=taste(), country=one_hot([1]))
    live = sample(THEIRS, taste=taste(), country=one_hot([1]))
    assert set(compared(now, live)) == {"taste"}


def test_where_nearly_everybody_is_alike_one_who_changes_says_nothing():
    now = sample(OURS, taste=taste(), country=one_hot([1]))
    live = sample(THEIRS, taste=taste(), country=one_hot([1] * (USERS - 1) + [2]))
    assert compared(now, live)["country"].kept() is None


def test_how_far_is_far_goes_by_the_kind_of_the_group():
    now = sample(OURS, taste=taste(), country=0.9 * one_hot([1, 2]))
    live = sample(THEIRS, taste=taste(), country=one_hot([1, 2]))
    country = compared(now, live)["country"]
    assert country.drifts({"vector": 0.2})["SE"].ks > 0
    assert country.drifts({"category": 0.2})["SE"].ks == 0
