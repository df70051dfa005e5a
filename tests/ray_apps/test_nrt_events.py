from datetime import UTC, datetime

from lakehouse.event_codec import Event
from ray_apps.nrt_events import as_tables
from schemas.contract import contract
from tests.ray_apps.conftest import played


def test_events_become_tables_of_their_contracts():
    pick = {
        "user_id": "u",
        "picked_id": "t1",
        "picked_kind": "item",
        "picked_at": "2026-03-01T00:00:00.000001Z",
    }
    found = as_tables([played("u", 1), Event("onboarding", pick), played("v", 2)])
    assert found["listens"].schema == contract("listens").arrow_schema
    assert found["listens"]["user_id"].to_pylist() == ["u", "v"]
    assert found["listens"]["ms_played"].to_pylist() == [None, None]
    moment = datetime(2026, 3, 1, microsecond=1, tzinfo=UTC)
    assert found["onboarding"]["picked_at"].to_pylist() == [moment]


def test_refused_events_are_left_out():
    refused = Event("listens", {"user_id": 7}, ("user_id is no string (7)",))
    assert as_tables([refused]) == {}
