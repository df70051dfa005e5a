"""How far the events of a folder log are in a lakehouse.

``LAKEHOUSE/drains/LOG.json`` says so: offsets by partition, and nothing personal. ``LOG`` is the id
that lies in the log's own folder, so the log may be moved.

A drain notes where it will end before it begins. One that died is repeated up to there and no
further, under the same id: what it had written is known by that, and not written again. What came
meanwhile is the next drain's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lakehouse.event_log import LogDamagedError
from lakehouse.folder_log import HEADER, partitions, read
from schemas.errors import InputError
from schemas.stores import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lakehouse.event_log import Record
    from lakehouse.storage import Lakehouse

ID, LOCK = "id", "drain.lock"  # files in the folder of a log
AT_ONCE = 10_000  # records


@dataclass(frozen=True)
class Span:
    """A part of a log that is drained at once.

    Attributes:
        begin: by partition, the offset of the first record; 0 where none is given.
        end: by partition, the offset after the last one.
    """

    begin: Mapping[str, int]
    end: Mapping[str, int]

    @property
    def run_id(self) -> str:
        """An id that is the same for the same part of the same log, and for no other."""
        said = sorted((name, self.begin.get(name, 0), end) for name, end in self.end.items())
        return f"log-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]}"


class Offsets(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drained: dict[str, int] = {}
    """By partition, the offset before which every event is in the lakehouse."""
    until: dict[str, int] = {}
    """By partition, where the drain ends that has begun; empty if none has."""


class DrainedLog:
    """What a lakehouse remembers of one log; for one process at a time, see ``alone``.

    Args:
        lake: the lakehouse.
        folder: of the log.
    """

    def __init__(self, lake: Lakehouse, folder: Path) -> None:
        self._lake, self._folder = lake, folder
        self._place = f"{lake.uri}/drains/{_log_id(folder)}.json"

    @property
    def offsets(self) -> dict[str, int]:
        """By partition, the offset before which every event is in the lakehouse."""
        return self._read().drained

    def begin(self, ends: Mapping[str, int]) -> Span | None:
        """What is to be drained next: what a drain that died has begun, or all there is up to here.

        Args:
            ends: by partition of the log, up to where.

        Raises:
            InputError: the log has lost a part that a drain has begun to read.
        """
        known = self._read()
        if not known.until:
            until = {name: end for name, end in ends.items() if end > known.drained.get(name, 0)}
            if not until:
                return None
            known = Offsets(drained=known.drained, until=until)
            self._note(known)
        elif lost := sorted(known.until.keys() - ends.keys()):
            raise InputError(
                f"{self._folder} has no {', '.join(lost)} any more, which a drain had begun to "
                f"read: bring it back from a copy, or remove {self._place}; then all that the log "
                "still has is drained again, which adds no event twice but refused ones"
            )
        begin = {name: known.drained[name] for name in known.until if name in known.drained}
        return Span(begin, known.until)

    def end(self, span: Span) -> None:
        """Remember that a span is in the lakehouse; partitions that are gone are forgotten."""
        there = set(partitions(self._folder))
        drained = {**self.offsets, **span.end}
        self._note(Offsets(drained={name: drained[name] for name in drained if name in there}))

    def _read(self) -> Offsets:
        if not self._lake.filesystem.exists(self._place):
            return Offsets()
        return Offsets.model_validate_json(self._lake.filesystem.cat_file(self._place))

    def _note(self, offsets: Offsets) -> None:
        self._lake.write_text(self._place, offsets.model_dump_json())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one who drains a log; the kernel lets go of it when a process dies.

    Raises:
        InputError: there is no log, or somebody else drains it now.
    """
    if not partitions(folder) and not (folder / ID).exists():
        raise InputError(
            f"there is no event log in {folder}: give the folder that the service has as "
            "--event-log; a log in Kafka cannot be drained"
        )
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder} is being drained: wait until that has ended") from None
        yield


def records(folder: Path, span: Span) -> Iterator[tuple[str, Record]]:
    """The records of a span with their partitions, in the order of each partition.

    Args:
        folder: of the log.
        span: which of them.

    Raises:
        LogDamagedError: the log is not what was written, or ends before the span does.
    """
    for partition, end in sorted(span.end.items()):
        offset = span.begin.get(partition, 0)
        while offset < end:
            some, after = read(folder, partition, offset, AT_ONCE)
            if not some:
                raise LogDamagedError(
                    f"{folder / partition} ends at offset {offset}, and went on to {end} before: "
                    "bring its newest segment back from a copy"
                )
            offset = after - sum(map(_size, some))  # above the one before where that was removed
            for record in some:
                if offset < end:
                    yield partition, record
                offset += _size(record)


def drain_summary(detail: Mapping[str, Any]) -> Iterator[str]:
    """What a drain came to, line by line.

    Args:
        detail: of its record in ``steps``.
    """
    for table, count in detail["events"].items():
        good, bad = detail["tables"][table]["good"], detail["tables"][table]["bad"]
        erased = detail["rows_of_erased"].get(table, 0)
        repeated = count - good - bad - erased
        yield (
            f"{table}: {count:,} events: {good:,} taken in, {repeated:,} repeated, "
            f"{erased:,} of erased people, {bad:,} refused by the gate"
        )
        for reason, rows in detail["reasons"][table].items():
            yield f"  {rows:,} rows: {reason}"
    yield f"refused by the service: {detail['refused']:,} events, which are in quarantine"
    yield f"the log is drained up to {detail['newest']} UTC"


def _size(record: Record) -> int:
    """Bytes of a record in its segment, which offsets count."""
    return HEADER.size + len(record.payload)


def _log_id(folder: Path) -> str:
    """The id of a log, made on first use."""
    place = folder / ID
    if not place.exists():
        with whole_file(str(place)) as file:
            file.write(uuid.uuid4().hex.encode())
    return place.read_text(encoding="ascii")
