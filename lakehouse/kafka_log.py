"""The event log in Kafka: a topic, which services on many machines write and read.

Events are taken once every replica that has to be in sync has them (``acks=all``). Where Kafka does
not answer, some of those sent together may be in the log all the same; sent again they are there
twice, and their ``event_id`` tells. Readers of a group share the partitions. A record comes again
to whoever holds its partition next, unless ``commit`` was told of it: so at least once.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lakehouse.event_log import LogFullError, Record, require_sizes
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

ANSWER = 10.0  # seconds within which Kafka has to answer
LINGER = 1  # milliseconds that a record waits for others to go with
FULL = 0.005  # seconds between two tries where too much is on its way to Kafka
TURN = 0.1  # seconds after which the thread of a writer looks whether it shall end
FETCHED = 8192  # KiB that a reader keeps ahead
SESSION = 10_000  # milliseconds after which a dead reader's partitions go to others
MOVED = {"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS"}  # partitions do
SECURITY = ("security.", "sasl.", "ssl.")


class KafkaLog(BaseModel):
    """Where the log is, and how to get there."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    servers: str
    """HOST:PORT of some brokers, with commas between."""
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Has to be there."""
    security: dict[str, str] = Field(default={}, repr=False)
    """What librdkafka needs to be let in: its properties ``security.…``, ``sasl.…``, ``ssl.…``."""

    @field_validator("security")
    @classmethod
    def _only_security(cls, security: dict[str, str]) -> dict[str, str]:
        if other := sorted(name for name in security if not name.startswith(SECURITY)):
            raise ValueError(f"{', '.join(other)}: only {', '.join(SECURITY)}… may be given here")
        return security

    def partition(self, number: int) -> str:
        """The name of a partition."""
        return f"{self.topic}-{number}"

    def ends(self) -> dict[str, int]:
        """By partition, the offset after its last record.

        Raises:
            InputError: Kafka does not answer, or there is no such topic.
        """
        with _speaking(self):
            asking = _kafka().Consumer(self.client(group_id=f"{self.topic}-ends"))
            try:
                numbers = asking.list_topics(self.topic, ANSWER).topics[self.topic].partitions
                if not numbers:
                    raise InputError(f"Kafka at {self.servers} has no topic {self.topic}: make it")
                return {
                    self.partition(number): asking.get_watermark_offsets(
                        _kafka().TopicPartition(self.topic, number), ANSWER
                    )[1]
                    for number in numbers
                }
            finally:
                asking.close()

    def client(self, **settings: str | float | bool) -> dict[str, Any]:
        """The properties of a client of librdkafka."""
        named = {name.replace("_", "."): value for name, value in settings.items()}
        return {**self.security, "bootstrap.servers": self.servers, **named}


class KafkaWriter:
    """Writes to the topic; for one event loop.

    Args:
        log: where.

    Raises:
        InputError: the library is not installed, or cannot use the settings.
    """

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        settings = log.client(
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER,
            delivery_timeout_ms=int(1000 * ANSWER),
        )
        with _speaking(log):
            self._producer = _kafka().Producer(settings)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="event-log", daemon=True)
        self._thread.start()

    async def append(self, payloads: Sequence[bytes]) -> None:
        """Add events, and return once all of them are durable; see ``LogWriter``."""
        require_sizes(payloads)
        if self._end.is_set():
            raise InputError(f"the event log {self._log.topic} was closed: open it again")
        if payloads:
            deliveries = _Deliveries(len(payloads), self._log)
            for payload in payloads:
                await self._send(payload, deliveries)
            await deliveries.done

    def close(self) -> None:
        """Wait for what is on its way, and end."""
        self._end.set()
        self._thread.join()
        self._producer.flush(ANSWER)

    async def _send(self, payload: bytes, deliveries: _Deliveries) -> None:
        """Hand an event over, once there is room; there is when Kafka took or lost another."""
        while True:
            try:
                with _speaking(self._log, LogFullError):
                    self._producer.produce(self._log.topic, payload, on_delivery=deliveries.count)
            except BufferError:
                await asyncio.sleep(FULL)
            else:
                return

    def _listen(self) -> None:
        while not self._end.is_set():
            self._producer.poll(TURN)


class _Deliveries:
    """Events that were sent together, and what waits until Kafka has taken all of them."""

    def __init__(self, count: int, log: KafkaLog) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._left, self._log = count, log
        self._error: KafkaError | None = None

    def count(self, error: KafkaError | None, _message: Message) -> None:
        """Called by the thread of the writer for each event."""
        self._left -= 1
        self._error = self._error or error
        if self._left == 0 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.done.cancelled():
            return
        if self._error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(_told(self._log, self._error, LogFullError))


class KafkaReader:
    """Reads the partitions that Kafka gives this member of the group; for one thread.

    Args:
        log: where.
        group: name of those who share the partitions; Kafka keeps how far it is.
        since: microseconds since 1970; of a partition that nobody knows a beginning of, older
            records are left out. Kafka's moments are whole milliseconds.
        start: where a partition is read from, by its name, or None where that is not known; without
            it, where the group is. A store that keeps the position with what it made of the records
            knows better than the group, which outlives it.

    Raises:
        InputError: the library is not installed, or cannot use the settings.
    """

    backlog_unit: ClassVar[Literal["bytes", "records"]] = "records"

    def __init__(
        self,
        log: KafkaLog,
        group: str,
        since: int = 0,
        start: Callable[[str], int | None] | None = None,
    ) -> None:
        self._log, self._since, self._start = log, since, start
        self._next: dict[int, int] = {}  # by partition that is held, the offset of its next record
        settings = log.client(
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # of what Kafka has removed
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=SESSION,
            queued_max_messages_kbytes=FETCHED,
        )
        with _speaking(log):
            self._consumer: Consumer = _kafka().Consumer(settings)
            self._consumer.subscribe(
                [log.topic], on_assign=self._begin, on_revoke=self._leave, on_lost=self._leave
            )

    def poll(self, most: int, wait: float) -> list[Record]:
        """Up to ``most`` records, and a few MiB; waits up to ``wait`` seconds for a first one.

        Raises:
            InputError: the topic cannot be read; this reader is of no use then.
        """
        with _speaking(self._log):
            first = self._consumer.poll(wait)
            if first is None:
                return []
            heard = [first, *self._consumer.consume(most - 1, 0)]
        messages = [each for each in heard if each.error() is None]
        if not messages:
            self._require_passing(first.error())
        return [self._record(message) for message in messages]

    def position(self) -> dict[str, int]:
        """By partition that is held, the offset after the last record that ``poll`` gave."""
        return {self._log.partition(number): offset for number, offset in self._next.items()}

    def commit(self) -> None:
        """Tell Kafka the position; records of partitions that others have now come again there.

        Raises:
            InputError: Kafka does not take it.
        """
        library = _kafka()
        offsets = [self._of(number, offset) for number, offset in self._next.items()]
        with _speaking(self._log):
            try:
                if offsets:
                    self._consumer.commit(offsets=offsets, asynchronous=False)
            except library.KafkaException as error:
                if error.args[0].name() not in MOVED:
                    raise

    def backlog(self) -> int:
        """Records that are not polled yet, in the partitions that are held, by the last fetch."""
        left = 0
        for number, offset in self._next.items():
            _, end = self._consumer.get_watermark_offsets(self._of(number), cached=True)
            left += max(0, end - offset)
        return left

    def close(self) -> None:
        """Let others of the group have the partitions."""
        self._consumer.close()

    def _begin(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        """Read partitions from where the group is, or from ``since`` on."""
        begins = consumer.committed(given, ANSWER) if self._start is None else given
        for partition in begins:
            if self._start is not None:
                known = self._start(self._log.partition(partition.partition))
                partition.offset = -1 if known is None else known
            if partition.offset < 0:
                partition.offset = self._first(consumer, partition.partition)
        consumer.incremental_assign(begins)
        self._next |= {partition.partition: partition.offset for partition in begins}

    def _first(self, consumer: Consumer, number: int) -> int:
        """The first offset of ``since`` or later."""
        _, end = consumer.get_watermark_offsets(self._of(number), ANSWER)  # before it is asked for
        (found,) = consumer.offsets_for_times([self._of(number, self._since // 1000)], ANSWER)
        return found.offset if found.offset >= 0 else end

    def _leave(self, _consumer: Consumer, taken: list[TopicPartition]) -> None:
        for partition in taken:
            self._next.pop(partition.partition, None)

    def _of(self, number: int, offset: int = -1) -> TopicPartition:
        return _kafka().TopicPartition(self._log.topic, number, offset)

    def _record(self, message: Message) -> Record:
        number, offset = message.partition(), message.offset()
        if number in self._next:
            self._next[number] = offset + 1
        return Record(message.timestamp()[1] * 1000, message.value() or b"")

    def _require_passing(self, error: KafkaError) -> None:
        """Raise InputError unless we were only slow, and are given partitions again."""
        if error.name() != "_MAX_POLL_EXCEEDED":
            raise _told(self._log, error, InputError)


def _kafka() -> ModuleType:
    """The library, or an InputError that says how to install it."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise InputError(
            "an event log in Kafka needs confluent-kafka: pip install 'tasteprint[kafka]'"
        ) from error
    return confluent_kafka


@contextmanager
def _speaking(log: KafkaLog, kind: type[InputError] = InputError) -> Iterator[None]:
    """Make an error of the library one of ours."""
    library = _kafka()
    try:
        yield
    except library.KafkaException as error:
        raise _told(log, error.args[0], kind) from error


def _told(log: KafkaLog, error: KafkaError, kind: type[InputError]) -> InputError:
    """What to say of an error of Kafka's; neither names what is in ``security``."""
    done = "written: some of these events may be there, send all of them again"
    return kind(
        f"the event log {log.topic} at {log.servers} cannot be "
        f"{done if kind is LogFullError else 'read or opened'}. Kafka says: {error.str()}"
    )
