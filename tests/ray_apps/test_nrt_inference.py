from datetime import datetime, timedelta

import numpy as np
import pytest

from ray_apps.nrt_inference import BatchInference
from tests.ray_apps.conftest import AS_OF, played


@pytest.fixture
def inference(nrt):
    """A function that makes what answers in the space of the live batch."""
    space = nrt.load()
    return lambda **options: BatchInference(nrt.lake, space, **options)


def test_a_vector_is_of_now_or_of_the_last_event_that_is_told(inference):
    events = [played("?", 0), played("?", 1)]
    now = inference().embed(events, {})
    then = inference(by_events=True).embed(events, {})
    last = AS_OF + timedelta(minutes=61)
    assert timedelta(0) < datetime.fromisoformat(then["as_of"]) - last < timedelta(seconds=1)
    assert datetime.fromisoformat(now["as_of"]) > last + timedelta(days=30)
    assert np.linalg.norm(then["embedding"]) == pytest.approx(1, abs=1e-5)


def test_of_whom_nothing_is_told_there_is_a_vector_of_now_all_the_same(inference):
    found = inference(by_events=True).embed([], {})
    assert found["source"] == "cold_start"
    assert datetime.fromisoformat(found["as_of"]) > AS_OF + timedelta(days=30)


def test_the_nearest_users_are_not_oneself(inference):
    answering = inference()
    embedding = answering.embed([played("?", 0, item=3)], {})["embedding"]
    of = {"embedding": embedding, "as_of": "", "user_id": "?"}
    nearest = answering.nearest("users", of, 5)["nearest"]
    of["user_id"] = nearest[0]["id"]
    without = answering.nearest("users", of, 4)["nearest"]
    assert [one["id"] for one in without] == [one["id"] for one in nearest[1:]]


def test_items_of_a_kind_that_nobody_is_of_are_none(inference):
    embedding = inference().embed([played("?", 0, item=3)], {})["embedding"]
    of = {"embedding": embedding, "as_of": "", "user_id": "?"}
    assert len(inference().nearest("items", of, 3, kind="track", language=None)["nearest"]) == 3
    assert inference().nearest("items", of, 3, kind="episode", language=None)["nearest"] == []
