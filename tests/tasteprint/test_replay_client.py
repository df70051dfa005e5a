import asyncio

import pytest

from tasteprint.replay_client import ServiceError, open_service
from tasteprint.replay_tally import Tally

EVENTS, ITEMS = "/v1/events", "/v1/users/ann/items"
AT_ONCE = {"Retry-After": "0"}
GOOD = [{"event_id": f"e{number}", "user_id": "ann", "played_at": "2026"} for number in range(4)]


@pytest.fixture
def ask(stand_in):
    """Calls a method of a service; returns what it gave, and what was counted."""

    def run(name: str, *arguments, patience: float = 60):
        tally = Tally()

        async def call():
            async with open_service(stand_in.url, "secret-token", tally, patience) as service:
                return await getattr(service, name)(*arguments)

        return asyncio.run(call()), tally

    return run


def test_events_go_with_the_token_and_are_counted(ask, stand_in):
    reasons, tally = ask("send", GOOD)
    assert reasons == [[], [], [], []]
    assert stand_in.asked == [(EVENTS, {"listens": GOOD}, "Bearer secret-token")]
    assert (tally.accepted, len(tally.answered)) == (4, 1)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_is_told_to_come_again_sends_the_same_once_more(ask, stand_in, status):
    stand_in.ready[EVENTS] = [(status, AT_ONCE, {"detail": "busy"})] * 2
    reasons, tally = ask("send", GOOD)
    assert reasons == [[], [], [], []]
    assert stand_in.bodies(EVENTS) == [{"listens": GOOD}] * 3
    assert (tally.accepted, tally.put_off, len(tally.answered)) == (4, 2, 1)


def test_what_was_never_answered_is_sent_again(ask, stand_in):
    stand_in.ready[EVENTS] = [(0, {}, {})]
    _, tally = ask("send", GOOD)
    assert stand_in.bodies(EVENTS) == [{"listens": GOOD}] * 2
    assert (tally.accepted, tally.put_off) == (4, 1)


def test_refused_rows_are_told_one_by_one(ask, stand_in):
    refused = [{"table": "listens", "index": 2, "reasons": ["item_id is not in items (x)"]}]
    stand_in.ready[EVENTS] = [(422, {}, {"accepted": 3, "refused": refused})]
    reasons, tally = ask("send", GOOD)
    assert reasons == [[], [], ["item_id is not in items (x)"], []]
    assert (tally.accepted, tally.refused) == (3, 1)


def test_one_erased_user_does_not_keep_the_others_out(ask, stand_in):
    gone = (410, {}, {"detail": "one of the users was erased"})
    well = (202, {}, {"accepted": 2})
    stand_in.ready[EVENTS] = [gone, well, gone, (202, {}, {"accepted": 1}), gone]
    reasons, tally = ask("send", GOOD)
    assert reasons == [[], [], [], ["one of the users was erased"]]
    sizes = [len(body["listens"]) for body in stand_in.bodies(EVENTS)]
    assert sizes == [4, 2, 2, 1, 1]
    assert (tally.accepted, tally.refused) == (3, 1)


def test_somebody_without_a_vector_has_no_nearest_items(ask, stand_in):
    assert ask("nearest", "ann", 3)[0] == ["a", "b", "d"]
    stand_in.ready[ITEMS] = [(404, {}, {"detail": "there is no vector of that user"})]
    assert ask("nearest", "ann", 3)[0] == []


def test_any_other_answer_ends_with_a_sentence(ask, stand_in):
    stand_in.ready[EVENTS] = [(507, AT_ONCE, {"detail": "the log is full"})]
    with pytest.raises(ServiceError, match="says 507: the log is full"):
        ask("send", GOOD)
    stand_in.ready[EVENTS] = [(200, {}, {"hello": "world"})]
    with pytest.raises(ServiceError, match=r"says 200: .*hello"):
        ask("send", GOOD)


def test_patience_ends_with_what_was_said_last(ask, stand_in):
    stand_in.ready[EVENTS] = [(429, {"Retry-After": "5"}, {"detail": "bytes wait"})]
    with pytest.raises(ServiceError, match="says 429: bytes wait; gave up after 1 s"):
        ask("send", GOOD, patience=1)


def test_a_token_that_is_not_known_is_an_error_and_is_not_repeated(ask, stand_in):
    stand_in.ready[EVENTS] = [(401, {}, {"detail": "no valid bearer token"})]
    with pytest.raises(ServiceError, match="tasteprint tokens NAME") as met:
        ask("require_ready")
    assert "secret-token" not in str(met.value)


def test_a_service_that_is_not_ready_is_not_waited_for(ask, stand_in):
    stand_in.ready["/readyz"] = [(503, AT_ONCE, {"detail": "no batch is served yet"})]
    with pytest.raises(ServiceError, match="says 503: no batch is served yet"):
        ask("require_ready")
    ask("require_ready")


def test_where_nobody_answers_it_says_what_to_start(ask, stand_in):
    stand_in.url = "http://127.0.0.1:9"
    with pytest.raises(ServiceError, match=r"nobody answers at .*:9 .* `tasteprint serve`"):
        ask("require_ready")
