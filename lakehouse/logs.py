"""Which log of events a text names: a folder of this machine, or a topic of Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from lakehouse.folder_log import FolderReader, FolderWriter, ends
from lakehouse.kafka_log import KafkaLog, KafkaReader, KafkaWriter
from schemas.errors import InputError
from schemas.settings import complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakehouse.event_log import LogReader, LogWriter

KAFKA = ".json"  # what the settings of a Kafka end with


class Log(Protocol):
    """A log of events, for whoever writes and reads it."""

    def writer(self) -> LogWriter:
        """What adds events."""
        ...

    def reader(self, group: str, start: Callable[[str], int | None], since: int) -> LogReader:
        """What reads them, with others of its group.

        Args:
            group: of those who share the partitions.
            start: offset to begin a partition at; None where nobody knows.
            since: microseconds since 1970, from when on a partition is read that nobody knows.
        """
        ...

    def ends(self) -> dict[str, int]:
        """By partition, the offset after its last record."""
        ...


@dataclass(frozen=True)
class InFolder:
    """A log in a folder, for the processes of one machine."""

    folder: Path

    def writer(self) -> LogWriter:
        """What adds events."""
        return FolderWriter(self.folder)

    def reader(self, group: str, start: Callable[[str], int | None], since: int) -> LogReader:
        """What reads them."""
        return FolderReader(self.folder, group, start, since)

    def ends(self) -> dict[str, int]:
        """By partition, the bytes up to its end."""
        return ends(self.folder)


@dataclass(frozen=True)
class InKafka:
    """A log in a topic of Kafka, for many machines."""

    log: KafkaLog

    def writer(self) -> LogWriter:
        """What adds events."""
        return KafkaWriter(self.log)

    def reader(self, group: str, start: Callable[[str], int | None], since: int) -> LogReader:
        """What reads them."""
        return KafkaReader(self.log, f"tasteprint.{group}", since, start)

    def ends(self) -> dict[str, int]:
        """By partition, the records up to its end."""
        return self.log.ends()


def open_log(place: str) -> Log:
    """The log of a text.

    Args:
        place: a folder, or a JSON file with the settings of ``KafkaLog``.

    Raises:
        InputError: the file cannot be used; its content, which may be secret, is not told.
    """
    if not place.endswith(KAFKA):
        return InFolder(Path(place))
    try:
        return InKafka(KafkaLog.model_validate_json(Path(place).read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{place}: {'; '.join(complaints(error))}") from None
