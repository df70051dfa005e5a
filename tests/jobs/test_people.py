from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from jobs.people import user_profiles, with_pick_indices
from schemas.contract import contract

pytestmark = pytest.mark.spark

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MICROS = 1_000_000
USERS = [
    {"user_id": "both", "country": "SE", "registered_at": AS_OF - DAY},
    {"user_id": "unknown when"},
    {"user_id": "not yet", "registered_at": AS_OF},
]
ONBOARDING = [
    {"user_id": "both", "picked_id": "t1", "picked_kind": "item", "picked_at": AS_OF - DAY},
    {"user_id": "both", "picked_id": "c7", "picked_kind": "creator", "picked_at": AS_OF - 2 * DAY},
    {"user_id": "both", "picked_id": "t0", "picked_kind": "item", "picked_at": AS_OF},
    {"user_id": "only picks", "picked_id": "gone", "picked_kind": "item", "picked_at": AS_OF - DAY},
]
INDEX = [("t0", "c7", 0, 0), ("t1", None, 1, None)]


@pytest.fixture
def told(spark, lake):
    """What each user had told by the moment, by id."""
    parents = {}
    for table, rows in {"users": USERS, "onboarding": ONBOARDING}.items():
        lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
        parents[table] = lake.open(table).version()
    profiles = user_profiles(spark, lake, lake.batches.open(AS_OF, parents, "s", "v"))
    schema = "item_id string, creator_id string, item int, creator int"
    index = spark.createDataFrame(INDEX, schema)
    return {row.user_id: row for row in with_pick_indices(profiles, index).collect()}


def test_only_what_was_told_before_the_moment_is_known(told):
    assert sorted(told) == ["both", "only picks", "unknown when"]
    assert told["both"].country == "SE"
    assert told["both"].registered_at == round((AS_OF - DAY).timestamp()) * MICROS


def test_picks_are_indices_of_items_or_creators_in_order_of_time(told):
    times = [round((AS_OF - days * DAY).timestamp()) * MICROS for days in (2, 1)]
    assert told["both"].picked_at == times
    assert told["both"].picked_item == [-1, 1]
    assert told["both"].picked_creator == [0, -1]


def test_a_pick_that_nobody_knows_is_neither_and_who_picked_nothing_has_no_picks(told):
    assert (told["only picks"].picked_item, told["only picks"].picked_creator) == ([-1], [-1])
    assert told["unknown when"].picked_at is None
