"""The event log of one machine: a folder on its disk, which many processes write and read at once.

Each writer has a partition, a sub-folder that nobody else ever writes::

    FOLDER/1763892900000000-5f0c9a1e/       named by the microsecond it was made in
        writer                              locked while the writer lives; how far it is durable
        00000000000000000000.log            a segment, named by its first offset
        GROUP.lock                          locked by the reader of a group that holds the partition

A segment is frames: length, CRC and moment (``HEADER``), and the payload. Offsets are bytes, and go
on from one segment to the next. Locks are flock's: the kernel lets go of them when a process dies,
however it dies. So folders of network file systems are not meant.

Events that come while an fsync runs are written together, with one fsync for all. After it the
writer says in its file how far it is durable, and readers go no further: what a failing disk makes
it take back was seen by nobody. That file is not synced itself, so after a crash of the machine it
may be behind. Behind it, then, the partition of a dead writer goes on as long as frames are whole,
and a torn one ends it. What was refused or not answered may still be read, what was answered is.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import struct
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from lakehouse.event_log import (
    MAX_PAYLOAD,
    LogDamagedError,
    LogFullError,
    Record,
    require_sizes,
)
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from io import FileIO
    from pathlib import Path

HEADER = struct.Struct("<IIq")  # length of the payload, CRC of all else, microseconds since 1970
CHECKED = struct.Struct("<Iq")  # what the CRC covers before the payload; zeros do not fit it
MARK = struct.Struct("<QI")  # the durable end, and its CRC
WRITER, SEGMENT, LOCK = "writer", ".log", ".lock"
SEGMENT_BYTES = 64 * 2**20
FRAME_BYTES = HEADER.size + MAX_PAYLOAD  # at most
CHUNK = 4 * 2**20  # bytes that a reader takes at once
RESCAN = 0.2  # seconds between two looks for partitions that others left, and for dead writers
TYPICAL = 1024  # bytes of a record, for how much to read at once
POLL = 0.002  # seconds between two looks for new records
PARTITION = re.compile(r"\d{16}-[0-9a-f]{8}")
GROUP = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]*")


class FolderWriter:
    """Writes a partition of its own; for one event loop, and not to be carried over a fork.

    Where the folder cannot be written, each append tries to begin the partition again.

    Args:
        folder: of the log; made if it is not there.
        segment_bytes: size from which on a segment is followed by the next.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder, self._segment_bytes = folder, segment_bytes
        self._place = folder
        self._writer: FileIO | None = None
        with suppress(OSError):
            self._place, self._writer = _new_partition(folder)
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-log")
        self._waiting: _Group | None = None
        self._storing: asyncio.Task[None] | None = None
        self._segment: FileIO | None = None
        self._first = self._end = self._at = 0

    @property
    def partition(self) -> str:
        """Name of the partition; none as long as the folder cannot be written."""
        return self._place.name if self._writer else ""

    async def append(self, payloads: Sequence[bytes]) -> None:
        """Add events, and return once all of them are durable; see ``LogWriter``."""
        require_sizes(payloads)
        if self._closed:
            raise InputError(f"the event log {self._folder} was closed: open it again")
        if self._waiting is None:
            self._waiting = _Group([], asyncio.get_running_loop().create_future())
        group = self._waiting
        group.payloads.extend(payloads)
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        await asyncio.shield(group.done)  # who is cancelled does not take the others along

    def close(self) -> None:
        """End; what still waits for its fsync to begin is told that it was not taken."""
        waiting, self._waiting, self._closed = self._waiting, None, True
        self._thread.shutdown()
        if waiting is not None:
            waiting.done.set_exception(InputError("the event log was closed: send these again"))
        if self._segment is not None:
            self._segment.close()
        if self._writer is not None and not self._writer.closed:
            with suppress(OSError):  # it is a hint
                os.fsync(self._writer.fileno())
            self._writer.close()

    async def _store_all(self) -> None:
        """Store group after group, each of what came while the one before was written."""
        loop = asyncio.get_running_loop()
        while self._waiting is not None:
            group, self._waiting = self._waiting, None
            stored = loop.run_in_executor(self._thread, self._store, group.payloads)
            await asyncio.wait([stored])
            if error := stored.exception():
                group.done.set_exception(error)
            else:
                group.done.set_result(None)
        self._storing = None

    def _store(self, payloads: Sequence[bytes]) -> None:
        """Write and sync a group, all of it or nothing."""
        self._at = max(self._at, time.time_ns() // 1000)
        content = memoryview(b"".join(frame(Record(self._at, each)) for each in payloads))
        try:
            if self._writer is None:
                self._place, self._writer = _new_partition(self._folder)
            segment = self._open_segment().fileno()
            written = 0
            while written < len(content):
                written += os.pwrite(segment, content[written:], self._end - self._first + written)
            os.fsync(segment)
            _tell(self._writer, self._end + written)
        except OSError as error:
            self._take_back()
            raise _full(self._folder, error) from error
        self._end += written

    def _open_segment(self) -> FileIO:
        if self._segment is not None and self._end - self._first >= self._segment_bytes:
            self._segment.close()
            self._segment = None
        if self._segment is None:
            segment = _segment(self._place, self._end).open("wb", buffering=0)
            self._segment, self._first = segment, self._end
            _sync(self._place)
        return self._segment

    def _take_back(self) -> None:
        """Cut off what is not durable; the next group begins a segment, should this fail too."""
        if self._segment is not None:
            with suppress(OSError):
                self._segment.truncate(self._end - self._first)
            with suppress(OSError):
                self._segment.close()
            self._segment = None


class FolderReader:
    """Reads the partitions that no other reader of its group holds; for one thread.

    A reader takes every partition that it finds free, those of writers to come too. Where its
    process dies, others of the group take them within ``RESCAN``.

    Args:
        folder: of the log; need not be there yet.
        group: name of those who share the partitions.
        start: gives the offset from which a partition is read, from the caller's own store; asked
            when the partition is taken. None where the caller knows none.
        since: microseconds since 1970; where ``start`` gives None, older records are left out.

    Raises:
        InputError: the group's name cannot be one of a file.
    """

    backlog_unit: ClassVar[Literal["bytes", "records"]] = "bytes"

    def __init__(
        self, folder: Path, group: str, start: Callable[[str], int | None], since: int = 0
    ) -> None:
        if not GROUP.fullmatch(group):
            raise InputError(
                f"{group!r} is no name of a group: take letters, digits, '_', '-', '@', and '.', "
                "which may not be the first"
            )
        self._folder, self._lock = folder, f"{group}{LOCK}"
        self._start, self._since = start, since
        self._held: dict[str, _Held] = {}
        self._turn = 0
        self._looked = (0.0, 0)  # when, and at which time of change of the folder

    def poll(self, most: int, wait: float) -> list[Record]:
        """Up to ``most`` records, and a few MiB; waits up to ``wait`` seconds for a first one.

        Raises:
            LogDamagedError: a segment is not what was written.
            LogFullError: a partition cannot be taken, for the disk is full or read-only.
        """
        give_up = time.monotonic() + wait
        while True:
            self._look_around()
            records = self._next(most)
            if records or time.monotonic() >= give_up:
                return records
            time.sleep(POLL)

    def position(self) -> dict[str, int]:
        """By partition that is held, the offset after the last record that ``poll`` gave."""
        return {name: held.offset for name, held in self._held.items()}

    def commit(self) -> None:
        """Do nothing: the caller keeps ``position`` beside what it made of the records."""

    def backlog(self) -> int:
        """Bytes that are durable and not polled yet, in the partitions that are held."""
        return sum(max(0, held.end() - held.offset) for held in self._held.values())

    def close(self) -> None:
        """Let others of the group have the partitions."""
        for held in self._held.values():
            held.close()
        self._held = {}

    def _look_around(self) -> None:
        """Take partitions that are free, let go of removed ones, and see which writers died."""
        now, changed = time.monotonic(), _changed(self._folder)
        before, seen = self._looked
        if now - before < RESCAN and changed == seen:
            return
        self._looked = (now, changed)
        there = partitions(self._folder)
        for name in self._held.keys() - set(there):
            self._held.pop(name).close()
        for name in there:
            if name not in self._held:
                self._claim(name)
        for held in self._held.values():
            held.look_for_death()

    def _claim(self, name: str) -> None:
        """Take a partition, unless another reader of the group has it."""
        place = self._folder / name
        try:
            lock = (place / self._lock).open("ab", buffering=0)
        except FileNotFoundError:  # somebody removes it this moment
            return
        except OSError as error:
            raise LogFullError(
                f"the event log {self._folder} cannot be read on, for its readers lock files in "
                f"it: {error.strerror}. Free or mend its disk"
            ) from error
        if not _locked(lock, fcntl.LOCK_EX):
            return
        with ExitStack() as unless_held:
            unless_held.callback(lock.close)
            start = self._start(name)  # only now: who had it before may have gone on
            with suppress(FileNotFoundError):
                self._held[name] = _Held(place, lock, start, self._since)
                unless_held.pop_all()

    def _next(self, most: int) -> list[Record]:
        """What is there now, beginning with the partition after the one that was first before."""
        held = list(self._held.values())
        self._turn += 1
        turn = self._turn % max(1, len(held))
        records: list[Record] = []
        size = 0
        for each in held[turn:] + held[:turn]:
            if len(records) >= most or size >= CHUNK:
                break
            before = each.offset
            records += each.read(most - len(records))
            size += each.offset - before
        return records


class _Group(NamedTuple):
    """Events that are written together, and what all wait for who sent them."""

    payloads: list[bytes]
    done: asyncio.Future[None]


class _Held:
    """A partition that a reader holds, and how far it is.

    Args:
        place: its folder.
        lock: the open file whose lock says that it is held.
        start: offset of the next record, None where nobody knows one.
        since: in that case, records before this moment are left out, microseconds since 1970.
    """

    def __init__(self, place: Path, lock: FileIO, start: int | None, since: int) -> None:
        self.offset = _first_since(place, since) if start is None else start
        self._since = since if start is None else 0
        self._place, self._lock = place, lock
        self._writer = (place / WRITER).open("rb", buffering=0)
        self._ended: int | None = None  # where, once the writer is dead

    def end(self) -> int:
        """The offset up to which records may be read now."""
        return _told(self._writer) if self._ended is None else self._ended

    def look_for_death(self) -> None:
        """See whether the writer is dead, and where the partition ends if so."""
        if self._ended is None and not _is_written(self._place):
            with suppress(FileNotFoundError):  # somebody removes it this moment
                self._ended = _end(self._place)

    def read(self, most: int) -> list[Record]:
        """The next records, none where there are no more now."""
        end = self.end()
        if self.offset >= end:
            return []
        records, self.offset = _records(self._place, self.offset, end, most)
        return [record for record in records if record.at >= self._since]

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()
        self._lock.close()


def partitions(folder: Path) -> list[str]:
    """Names of the partitions of a log, in the order in which they were made."""
    try:
        with os.scandir(folder) as there:
            return sorted(each.name for each in there if PARTITION.fullmatch(each.name))
    except FileNotFoundError:
        return []


def ends(folder: Path) -> dict[str, int]:
    """By partition, the offset where it ends now."""
    found = {}
    for name in partitions(folder):
        with suppress(FileNotFoundError):  # somebody removes it this moment
            found[name] = _end(folder / name)
    return found


def read(folder: Path, partition: str, offset: int, most: int) -> tuple[list[Record], int]:
    """Read records of a partition, whoever holds it.

    Args:
        folder: of the log.
        partition: its name.
        offset: of the first record; where that was removed, the first that is left.
        most: how many at most; a few MiB are given at once.

    Returns:
        The records, and the offset after them; none, and the same offset, at the end.

    Raises:
        LogDamagedError: a segment is not what was written.
        InputError: there is no such partition.
    """
    if partition not in (there := partitions(folder)):
        raise InputError(f"{folder} has no partition {partition!r}; there are {', '.join(there)}")
    place = folder / partition
    end = _end(place)
    return _records(place, offset, end, most) if offset < end else ([], offset)


def remove_before(folder: Path, kept: Mapping[str, int], older_than: int) -> int:
    """Remove segments that nobody needs, and partitions of dead writers that are empty then.

    May be repeated, and run beside writers and readers, by one process at a time. A segment is
    taken to be as new as the first record of the next, where there is a next one.

    Args:
        folder: of the log.
        kept: by partition, the offset before which nobody reads; others are left as they are.
        older_than: microseconds since 1970; newer segments stay.

    Returns:
        Bytes that this freed.
    """
    freed = 0
    for name in partitions(folder):
        place = folder / name
        dead = not _is_written(place)  # before the end is known: it stays where it is
        for segment in _needless(place, kept.get(name, 0), older_than, dead=dead):
            freed += segment.stat().st_size
            segment.unlink()
        if dead and not _firsts(place) and int(name.partition("-")[0]) < older_than:
            place.rename(folder / f".{name}")  # at once, so that no reader sees a part of it
    _sweep(folder, older_than)
    return freed


def frame(record: Record) -> bytes:
    """A record as it lies in a segment."""
    length = len(record.payload)
    crc = zlib.crc32(record.payload, zlib.crc32(CHECKED.pack(length, record.at)))
    return HEADER.pack(length, crc, record.at) + record.payload


def unframed(content: bytes, most: int) -> tuple[list[Record], int]:
    """Records from the start of a segment's bytes, up to the first that is not whole.

    Args:
        content: bytes of a segment, from the beginning of a frame on.
        most: how many records at most.

    Returns:
        The records, and how many bytes they take.
    """
    records: list[Record] = []
    taken = 0
    while len(records) < most and len(content) - taken >= HEADER.size:
        length, crc, at = HEADER.unpack_from(content, taken)
        begin = taken + HEADER.size
        payload = content[begin : begin + length]
        known = zlib.crc32(payload, zlib.crc32(CHECKED.pack(length, at)))
        if length > MAX_PAYLOAD or len(payload) < length or known != crc:
            break
        records.append(Record(at, payload))
        taken = begin + length
    return records, taken


def _new_partition(folder: Path) -> tuple[Path, FileIO]:
    """Make a partition; whoever sees it sees it locked."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{time.time_ns() // 1000:016d}-{uuid.uuid4().hex[:8]}"
    hidden = folder / f".{place.name}"
    hidden.mkdir()
    writer = (hidden / WRITER).open("wb", buffering=0)
    _locked(writer, fcntl.LOCK_EX)
    _tell(writer, 0)
    _sync(hidden)
    hidden.rename(place)
    _sync(folder)
    return place, writer


def _records(place: Path, offset: int, end: int, most: int) -> tuple[list[Record], int]:
    """Records between two offsets, of one segment; every byte of them is known to be durable."""
    firsts = _firsts(place)
    before = [first for first in firsts if first <= offset] or firsts[:1]
    if not before:
        raise _damaged(place, offset)
    first, offset = before[-1], max(offset, before[-1])
    until = min([end, *firsts[len(before) :][:1]])
    size = min(until - offset, FRAME_BYTES + TYPICAL * most)
    content = _content(_segment(place, first), offset - first, size)
    records, taken = unframed(content, most)
    if not taken:
        raise _damaged(_segment(place, first), offset, offset - first)
    return records, offset + taken


def _end(place: Path) -> int:
    """Where a partition ends now: where its writer says, or where a dead one's frames do."""
    alive = _is_written(place)
    with (place / WRITER).open("rb", buffering=0) as writer:
        end = _told(writer)
    firsts = _firsts(place)
    if alive or not firsts:
        return end
    first = firsts[-1]
    end = max(end, first)
    return end + sum(taken for _, taken in _whole(place, first, end - first))


def _first_since(place: Path, since: int) -> int:
    """The first offset of the first segment that may hold a record of a moment or later."""
    firsts = _firsts(place) if since else []
    for first in reversed(firsts):
        begins = _first_at(place, first)
        if begins is not None and begins < since:
            return first
    return 0  # there may be none yet


def _needless(place: Path, kept: int, older_than: int, *, dead: bool) -> Iterator[Path]:
    """Segments of a partition that may go, from the first on."""
    firsts = _firsts(place)
    following = [*firsts[1:], _end(place)] if dead else firsts[1:]
    for first, until in zip(firsts, following, strict=False):
        newest = _first_at(place, until) or _last_at(place, first)
        if until > kept or (newest is not None and newest >= older_than):
            return
        yield _segment(place, first)


def _first_at(place: Path, first: int) -> int | None:
    """The moment of the first record of a segment, None where there is none."""
    with suppress(FileNotFoundError):
        if records := unframed(_content(_segment(place, first), 0, FRAME_BYTES), 1)[0]:
            return records[0].at
    return None


def _last_at(place: Path, first: int) -> int | None:
    """The moment of the last record of a segment, None where there is none."""
    last = None
    for records, _ in _whole(place, first, 0):
        last = records[-1].at
    return last


def _whole(place: Path, first: int, begin: int) -> Iterator[tuple[list[Record], int]]:
    """Whole records of a segment from a byte on, in parts, each with the bytes that it takes."""
    while True:
        content = _content(_segment(place, first), begin, CHUNK)
        records, taken = unframed(content, len(content))
        if not taken:
            return
        yield records, taken
        begin += taken


def _sweep(folder: Path, older_than: int) -> None:
    """Remove what was hidden for its removal, or for its making by somebody who died of it."""
    for hidden in folder.glob(".*"):
        begun = hidden.name[1:].partition("-")[0]
        if begun.isdecimal() and int(begun) < older_than and not _is_written(hidden):
            shutil.rmtree(hidden)


def _firsts(place: Path) -> list[int]:
    """First offsets of a partition's segments, in order."""
    with os.scandir(place) as there:
        names = [each.name for each in there if each.name.endswith(SEGMENT)]
    return sorted(int(name.removesuffix(SEGMENT)) for name in names)


def _segment(place: Path, first: int) -> Path:
    return place / f"{first:020d}{SEGMENT}"


def _content(segment: Path, begin: int, size: int) -> bytes:
    with segment.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), min(size, CHUNK), begin)


def _tell(writer: FileIO, end: int) -> None:
    """Say how far a partition is durable."""
    mark = end.to_bytes(8, "little")
    os.pwrite(writer.fileno(), MARK.pack(end, zlib.crc32(mark)), 0)


def _told(writer: FileIO) -> int:
    """How far a partition is durable, by its writer; 0 where a crash left nothing of that."""
    for _ in range(100):  # it may be written this moment
        content = os.pread(writer.fileno(), MARK.size, 0)
        if len(content) == MARK.size and zlib.crc32(content[:8]) == MARK.unpack(content)[1]:
            return int(MARK.unpack(content)[0])
    return 0


def _is_written(place: Path) -> bool:
    """Whether the writer of a partition lives."""
    try:
        with (place / WRITER).open("rb", buffering=0) as writer:
            return not _locked(writer, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked(file: FileIO, how: int) -> bool:
    """Lock a file until it is closed; closes it and gives False where another process holds it."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    return True


def _changed(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime_ns
    return 0


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(folder: Path, error: OSError) -> LogFullError:
    return LogFullError(
        f"the event log {folder} cannot be written: {error.strerror}. None of these events is "
        "taken. Free or mend its disk, and send them again"
    )


def _damaged(place: Path, offset: int, byte: int = 0) -> LogDamagedError:
    return LogDamagedError(
        f"{place} is damaged at byte {byte}, offset {offset}: what was durable there is not what "
        "was written. Check the disk, and put the file back from a copy"
    )
