import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from pydantic import ValidationError

from lakehouse import kafka_log
from lakehouse.event_log import MAX_PAYLOAD, LogFullError
from lakehouse.kafka_log import KafkaLog, KafkaReader, KafkaWriter
from schemas.errors import InputError

pytest.importorskip("confluent_kafka", reason="pip install 'tasteprint[kafka]'")
pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
BROKER = Path(__file__).with_name("kafka_broker.py")
READS_AND_WAITS = """
import sys, time
from lakehouse.kafka_log import KafkaLog, KafkaReader
reader = KafkaReader(KafkaLog(servers=sys.argv[1], topic=sys.argv[2]), "nrt")
seen = 0
while seen < int(sys.argv[3]):
    seen += len(reader.poll(100, 1.0))
print("read", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A broker of this module's own."""
    broker = subprocess.Popen(
        [sys.executable, str(BROKER), str(tmp_path_factory.mktemp("kafka"))],
        stdin=subprocess.PIPE,  # it ends with us, however we end
        stdout=subprocess.PIPE,
        text=True,
    )
    word, _, rest = broker.stdout.readline().strip().partition(" ")
    if word == "none":
        pytest.skip(f"no Kafka here: {rest}")
    assert word == "ready"
    yield rest
    broker.stdin.close()
    broker.wait()


@pytest.fixture
def new_topic(servers):
    """A function that makes a topic of some partitions, with a name of its own."""
    from confluent_kafka.admin import AdminClient, NewTopic

    def made(partitions: int = 1) -> KafkaLog:
        name = f"events-{uuid.uuid4().hex}"
        client = AdminClient({"bootstrap.servers": servers})
        client.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
        return KafkaLog(servers=servers, topic=name)

    return made


@pytest.fixture
def new_reader():
    """A function that opens readers, which are closed in the end."""
    opened = []

    def made(log: KafkaLog, group: str = "nrt", since: int = 0) -> KafkaReader:
        opened.append(KafkaReader(log, group, since))
        return opened[-1]

    yield made
    for reader in opened:
        reader.close()


def written(log: KafkaLog, *payloads: bytes) -> None:
    """Append events one after the other."""

    async def write() -> None:
        writer = KafkaWriter(log)
        for payload in payloads:
            await writer.append([payload])
        writer.close()

    asyncio.run(write())


def polled(reader: KafkaReader, count: int) -> list[bytes]:
    """The next events, as many as there should be."""
    found = []
    give_up = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < give_up, f"only {found} came"
        found += [record.payload for record in reader.poll(100, 1.0)]
    return found


def numbered(begin: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(begin, end)]


def test_what_is_appended_comes_in_order_with_its_moment(new_topic, new_reader):
    log = new_topic()
    before = time.time_ns() // 1_000_000 * 1000
    written(log, *numbered(0, 5))
    reader = new_reader(log)
    found = []
    while len(found) < 5:
        found += reader.poll(2, 1.0)
    assert [record.payload for record in found] == numbered(0, 5)
    assert all(before <= record.at <= time.time_ns() // 1000 for record in found)
    assert reader.position() == {f"{log.topic}-0": 5}
    assert reader.poll(10, 0.0) == []


def test_many_who_append_at_once_are_all_answered(new_topic, new_reader):
    log = new_topic(2)

    async def write() -> None:
        writer = KafkaWriter(log)
        await asyncio.gather(*(writer.append([b"%d" % n, b"and"]) for n in range(300)))
        writer.close()

    asyncio.run(write())
    found = polled(new_reader(log), 600)
    assert sorted(found) == sorted([*numbered(0, 300), *[b"and"] * 300])


def test_a_full_queue_makes_who_appends_wait(new_topic, new_reader, monkeypatch):
    log = new_topic()
    client = KafkaLog.client
    small = {"queue.buffering.max.messages": 10}
    monkeypatch.setattr(KafkaLog, "client", lambda *a, **k: client(*a, **k) | small)
    written_at_once = numbered(0, 200)

    async def write() -> None:
        writer = KafkaWriter(log)
        await writer.append(written_at_once)
        writer.close()

    asyncio.run(write())
    monkeypatch.undo()
    assert polled(new_reader(log), 200) == written_at_once


def test_what_was_committed_does_not_come_again_and_the_rest_does(new_topic, new_reader):
    log = new_topic()
    written(log, *numbered(0, 6))
    reader = new_reader(log)
    found = []
    while len(found) < 4:
        found += reader.poll(4 - len(found), 1.0)
    reader.commit()
    assert len(reader.poll(2, 5.0)) > 0
    reader.close()
    assert polled(new_reader(log), 2) == numbered(4, 6)


def test_what_a_killed_reader_had_not_committed_comes_again(new_topic, new_reader):
    log = new_topic()
    written(log, *numbered(0, 4))
    reader = subprocess.Popen(
        [sys.executable, "-c", READS_AND_WAITS, log.servers, log.topic, "4"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert reader.stdout.readline() == "read\n"
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    assert polled(new_reader(log), 4) == numbered(0, 4)


def test_two_readers_share_the_partitions_and_nothing_is_lost(new_topic, new_reader):
    log = new_topic(4)
    written(log, *numbered(0, 40))
    both = [new_reader(log), new_reader(log)]
    found = set()
    give_up = time.monotonic() + 60
    while [len(reader.position()) for reader in both] != [2, 2] or len(found) < 40:
        assert time.monotonic() < give_up
        for reader in both:
            found |= {record.payload for record in reader.poll(100, 0.1)}
            reader.commit()
    names = set(both[0].position()) | set(both[1].position())
    assert names == {f"{log.topic}-{number}" for number in range(4)}
    assert found == set(numbered(0, 40))
    written(log, *numbered(40, 80))
    late = []
    while len(late) < 40:
        assert time.monotonic() < give_up
        for reader in both:
            late += [record.payload for record in reader.poll(100, 0.1)]
    assert sorted(late) == sorted(numbered(40, 80))


def test_a_group_that_knows_nothing_begins_at_a_moment_and_others_where_they_were(
    new_topic, new_reader
):
    log = new_topic()
    written(log, *numbered(0, 3))
    time.sleep(0.01)
    moment = time.time_ns() // 1000
    time.sleep(0.01)
    first = new_reader(log, "old")
    polled(first, 3)
    first.commit()
    first.close()
    written(log, *numbered(3, 5))
    assert polled(new_reader(log, "new", moment), 2) == numbered(3, 5)
    assert polled(new_reader(log, "old", time.time_ns() // 1000), 2) == numbered(3, 5)


def test_a_moment_to_come_begins_with_what_comes_next(new_topic, new_reader):
    log = new_topic()
    written(log, *numbered(0, 3))
    reader = new_reader(log, since=time.time_ns() // 1000 + 3_600_000_000)
    while not reader.position():
        assert reader.poll(10, 0.1) == []
    assert reader.position() == {f"{log.topic}-0": 3}
    written(log, *numbered(3, 4))
    assert polled(reader, 1) == numbered(3, 4)


def test_the_backlog_is_what_is_not_polled_yet(new_topic, new_reader):
    log = new_topic()
    written(log, *numbered(0, 7))
    reader = new_reader(log)
    found = []
    while len(found) < 3:
        found += reader.poll(3 - len(found), 1.0)
    assert (reader.backlog(), reader.backlog_unit) == (4, "records")
    polled(reader, 4)
    assert reader.backlog() == 0


def test_a_broker_that_does_not_answer_is_told_of_and_secrets_are_not(monkeypatch):
    monkeypatch.setattr(kafka_log, "ANSWER", 1.0)
    security = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    security |= {"sasl.username": "ranker", "sasl.password": "geheim"}
    log = KafkaLog(servers="127.0.0.1:9", topic="events", security=security)
    with pytest.raises(LogFullError, match=r"events at 127\.0\.0\.1:9 cannot be written") as told:
        written(log, b"a")
    assert "geheim" not in f"{told.value}{log!r}"


def test_a_topic_that_is_not_there_is_told_of(servers, new_reader):
    reader = new_reader(KafkaLog(servers=servers, topic="nowhere"))
    with pytest.raises(InputError, match=r"nowhere at .* cannot be read"):
        polled(reader, 1)


def test_an_event_that_is_too_long_is_refused_and_so_is_a_closed_log(new_topic):
    log = new_topic()
    written(log, b"x" * MAX_PAYLOAD)
    with pytest.raises(InputError, match="longer than the log takes"):
        written(log, b"x" * (MAX_PAYLOAD + 1))
    writer = KafkaWriter(log)
    writer.close()
    with pytest.raises(InputError, match="closed"):
        asyncio.run(writer.append([b"a"]))


def test_security_takes_what_lets_one_in_and_nothing_else():
    with pytest.raises(ValidationError, match="acks: only security") as told:
        KafkaLog(servers="a:1", topic="t", security={"acks": "0", "sasl.password": "geheim"})
    assert "geheim" not in str(told.value)
    with pytest.raises(InputError, match=r"cannot be read or opened.*No such configuration"):
        KafkaWriter(KafkaLog(servers="a:1", topic="t", security={"sasl.none": "geheim"}))


def test_a_missing_library_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(InputError, match=r"pip install 'tasteprint\[kafka\]'"):
        KafkaWriter(KafkaLog(servers="a:1", topic="t"))


def test_the_ends_are_the_positions_of_who_has_read_everything(new_topic, new_reader):
    log = new_topic(2)
    written(log, *numbered(0, 20))
    reader = new_reader(log)
    assert len(polled(reader, 20)) == 20
    assert reader.position() == log.ends()
    assert set(log.ends()) == {log.partition(0), log.partition(1)}


def test_a_topic_that_is_not_there_has_no_ends(servers):
    with pytest.raises(InputError, match="no-such"):
        KafkaLog(servers=servers, topic="no-such").ends()


def test_a_store_that_knows_less_than_the_group_is_believed(new_topic):
    log = new_topic()
    written(log, b"one", b"two")
    first = KafkaReader(log, "nrt")
    polled(first, 2)
    first.commit()
    first.close()
    again = KafkaReader(log, "nrt", start={log.partition(0): 1}.get)
    assert polled(again, 1) == [b"two"]
    again.close()
    nothing = KafkaReader(log, "nrt", start={}.get)
    assert polled(nothing, 2) == [b"one", b"two"]
    nothing.close()
