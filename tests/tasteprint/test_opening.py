from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from lakehouse.batches import BatchRegistry
from schemas.contract import contract
from schemas.errors import InputError
from tasteprint.opening import open_batch, settings_hash

T0 = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def listened(lake):
    """A lakehouse with one play a day for ten days."""
    rows = [
        {
            "event_id": f"e{day}",
            "user_id": "u",
            "item_id": "i",
            "item_kind": "track",
            "played_at": T0 + timedelta(days=day),
            "ingested_at": T0 + timedelta(days=day),
        }
        for day in range(10)
    ]
    lake.append("listens", pa.Table.from_pylist(rows, schema=contract("listens").arrow_schema))
    return lake


def test_a_batch_stands_so_many_days_before_the_last_event(listened):
    batch = open_batch(listened, holdout_days=3.0)
    assert timedelta(0) < batch.as_of - (T0 + timedelta(days=6)) < timedelta(seconds=1)


def test_with_nothing_held_out_every_event_lies_before_the_moment(listened):
    assert open_batch(listened, holdout_days=0.0).as_of > T0 + timedelta(days=9)


def test_a_batch_pins_the_version_of_every_input(listened):
    batch = open_batch(listened, holdout_days=1.0)
    assert batch.parents == {
        "items": 0,
        "users": 0,
        "onboarding": 0,
        "listens": 1,
        "playlists": 0,
    }


def test_holding_out_everything_is_an_error_that_says_when_the_events_are(listened):
    with pytest.raises(
        InputError, match=r"the first is at 2024-03-01 00:00, the last at 2024-03-10"
    ):
        open_batch(listened, holdout_days=30.0)
    assert BatchRegistry(listened).list() == []


def test_a_lakehouse_without_listens_is_an_error_that_says_what_to_run(lake):
    with pytest.raises(InputError, match=r"run jobs/ingest.py first"):
        open_batch(lake, holdout_days=0.0)


def test_the_order_of_settings_does_not_matter_and_their_values_do():
    assert settings_hash(a=1, b=2) == settings_hash(b=2, a=1) != settings_hash(a=2, b=1)
