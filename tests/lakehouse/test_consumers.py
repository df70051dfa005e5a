from datetime import UTC, datetime

import pytest

from lakehouse.consumers import ConsumerRegistry
from schemas.errors import BatchError, InputError

LATER = datetime(2027, 1, 31, tzinfo=UTC)


@pytest.fixture
def consumers(lake):
    return ConsumerRegistry(lake)


@pytest.fixture
def live(batches, batch):
    batches.record(batch.batch_id, state="candidate")
    return batches.promote(batch.batch_id)


@pytest.fixture
def candidate(batches, live):
    opened = batches.open(live.as_of, live.parents, "s", "v")
    return batches.record(opened.batch_id, state="candidate")


def test_a_consumer_is_trained_on_the_live_batch_unless_it_says_otherwise(consumers, live):
    consumers.register("ranker", contact="ranking@example.com")
    (one,) = consumers.all()
    assert (one.consumer, one.batch_id, one.ready_for) == ("ranker", live.batch_id, None)
    assert one.contact == "ranking@example.com"


def test_a_consumer_cannot_be_trained_on_what_is_not_served(consumers, candidate):
    with pytest.raises(BatchError, match="which is candidate"):
        consumers.register("ranker", candidate.batch_id)
    assert consumers.all() == []


def test_who_is_ready_moves_in_the_commit_of_the_promotion(lake, consumers, live, candidate):
    consumers.register("ranker")
    consumers.register("search")
    consumers.ready("ranker", candidate.batch_id)
    assert consumers.ready_for(candidate) == {"ranker"}
    lake.batches.promote(candidate.batch_id, consumers.ready_for(candidate), LATER)
    found = {one.consumer: one for one in consumers.all()}
    assert found["ranker"].batch_id == candidate.batch_id
    assert found["ranker"].ready_for is None
    assert found["search"].batch_id == live.batch_id


@pytest.mark.usefixtures("live")
def test_registering_again_keeps_what_was_known(consumers):
    first = consumers.register("ranker", contact="ranking@example.com")
    again = consumers.register("ranker")
    assert again.registered_at == first.registered_at
    assert again.contact == "ranking@example.com"
    assert len(consumers.all()) == 1


def test_a_consumer_whose_details_were_never_written_still_holds_its_batch(lake, consumers, live):
    lake.batches.move_consumer("ranker", live.batch_id)  # and the process died here
    assert [one.consumer for one in consumers.all()] == ["ranker"]
    consumers.register("ranker", contact="ranking@example.com")
    assert consumers.get("ranker").contact == "ranking@example.com"


@pytest.mark.usefixtures("live")
def test_names_are_data_and_never_code(consumers):
    name = "o'hara' OR '1'='1"
    consumers.register("ranker")
    consumers.register(name)
    consumers.remove(name)
    assert [one.consumer for one in consumers.all()] == ["ranker"]


def test_nobody_is_no_consumer(consumers, live):
    with pytest.raises(InputError, match="needs a name"):
        consumers.register(" ")
    with pytest.raises(InputError, match="no consumer 'ranker'"):
        consumers.ready("ranker", live.batch_id)
