"""The online store in a folder of one machine, in LMDB: a B+tree in a memory map.

Readers take no lock and wait for nobody; writers of all processes take turns. A transaction is on
the disk before its write returns, but for LMDB's own pointer to it, which goes with the next one
(``metasync=False``). So a process that is killed loses nothing, and a machine that loses power may
lose the last transaction, whole: with it goes the position of the log, which is read again from
there. Erasures and notes are in no log, and wait for the pointer too.

A vector that has expired takes its place until it is replaced or its space is dropped.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import lmdb

from lakehouse.lmdb_records import DROPPED, Records, Tables
from lakehouse.online import (
    LARGEST,
    MOMENT,
    SpaceSize,
    State,
    StoreError,
    Update,
    fresh,
    require_name,
    unpack_state,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lakehouse.online import Row

READERS = 1024  # at once, of all processes
ROWS = 1_000  # written in one transaction of a load; others who write wait for its end
REMOVED = 1_000  # records removed in one transaction of a drop
CHECK = b"\0check"  # a note of our own, which no name of a note can be

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
BROKEN = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
READ_ONLY = "can only be read: let this user write that folder and the files in it"
DISK = "cannot be written: its disk is full or broken; free space there, and try again"
WHAT_TO_DO: dict[type[Exception], str] = {
    lmdb.MapFullError: "is full: raise --store-size, or remove batches that nobody reads",
    lmdb.MapResizedError: "was made larger by another process: give this one its --store-size",
    lmdb.ReadersFullError: f"has {READERS:,} readers, and takes no more: run fewer processes",
    lmdb.ReadonlyError: READ_ONLY,
    lmdb.NotFoundError: READ_ONLY,  # and nobody has ever written it
}


class _Process:
    """Its number, which is asked for with each read: a call of the system takes as long as one."""

    def __init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Ask for it."""
        self.pid = os.getpid()


_process = _Process()
os.register_at_fork(after_in_child=_process.look)


class Opened:
    """A folder as this process has opened it; closed when no store uses it any more.

    Args:
        folder: is made where there is none; what cannot be written is opened for reading.
        map_size: bytes that may be in it.
    """

    def __init__(self, folder: str, map_size: int) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.pid = _process.pid
        self.env = _environment(folder, map_size)
        self.read_only = self.env.flags()["readonly"]
        self.env.reader_check()  # whoever was killed while reading holds old pages back
        names = [name.encode() for name in Tables._fields]
        self.tables = Tables(*(self.env.open_db(name, create=not self.read_only) for name in names))


_opened: WeakValueDictionary[str, Opened] = WeakValueDictionary()  # LMDB allows one per process
_opening = threading.Lock()


class LmdbStore:
    """An ``OnlineStore`` in a folder on a local disk; not on one that machines share.

    Threads may share it. A process that is forked off opens the folder anew by itself.

    Args:
        folder: where it lies; is made where there is none.
        map_size: bytes that it may hold; every process is to give the same.

    Raises:
        StoreError: there is nothing to read, and nothing can be made.
    """

    def __init__(self, folder: str, map_size: int = LARGEST) -> None:
        self._folder, self._map_size = os.path.realpath(folder), map_size
        self._handle: Opened | None = None
        with self._told():
            self._open()

    def vectors(
        self, space: str, user_ids: Sequence[str], now: int | None = None
    ) -> list[bytes | None]:
        """See ``OnlineStore``; without ``_transaction``, which takes half as long again."""
        try:
            opened = self._open()
            with opened.env.begin() as txn:
                records = Records(txn, opened.tables)
                return fresh(records.of_users(opened.tables.vectors, space, user_ids), now)
        except (lmdb.Error, OSError) as error:
            raise self._error(error) from error

    def states(self, space: str, user_ids: Sequence[str]) -> list[State | None]:
        """See ``OnlineStore``."""
        with self._transaction() as txn:
            return list(map(unpack_state, txn.of_users(txn.tables.states, space, user_ids)))

    def update(
        self, space: str, updates: Sequence[Update], position: Mapping[str, int]
    ) -> list[bool]:
        """See ``OnlineStore``."""
        with self._transaction(write=True) as txn:
            number = txn.made(space)
            done = [txn.replace(number, update) for update in updates]
            if all(done):
                txn.advance(number, position)
        return done

    def load(
        self,
        space: str,
        rows: Iterable[Row],
        subject_of: Callable[[str], str] | None = None,
    ) -> int:
        """See ``OnlineStore``."""
        left, count = iter(rows), 0
        while some := list(islice(left, ROWS)):  # made before others have to wait
            count += len(some)
            with self._transaction(write=True) as txn:
                number = txn.made(space)
                for row in some:
                    if subject_of is None or not txn.is_erased(subject_of(row[0])):
                        txn.add(number, row)
        return count

    def position(self, space: str) -> dict[str, int]:
        """See ``OnlineStore``."""
        with self._transaction() as txn:
            number = txn.number(space)
            return {} if number is None else txn.position(number)

    def note(self, name: str) -> bytes | None:
        """See ``OnlineStore``."""
        with self._transaction() as txn:
            return txn.get(txn.tables.notes, require_name(name).encode())

    def set_note(self, name: str, value: bytes, expected: bytes | None) -> bool:
        """See ``OnlineStore``."""
        key = require_name(name).encode()
        with self._transaction(write=True, flush=True) as txn:
            same = txn.get(txn.tables.notes, key) == expected
            if same:
                txn.put(txn.tables.notes, key, value)
        return same

    def erase(self, user_id: str, subject: str, at: int) -> int:
        """See ``OnlineStore``."""
        with self._transaction(write=True, flush=True) as txn:
            txn.put(txn.tables.erased, subject.encode(), MOMENT.pack(at))
            return txn.erase(user_id)

    def erased(self, subjects: Sequence[str]) -> list[bool]:
        """See ``OnlineStore``."""
        with self._transaction() as txn:
            return list(map(txn.is_erased, subjects))

    def spaces(self) -> list[str]:
        """See ``OnlineStore``."""
        with self._transaction() as txn:
            return list(txn.spaces())

    def drop(self, space: str) -> None:
        """See ``OnlineStore``; what a drop has left that was broken off goes with the next."""
        with self._transaction(write=True) as txn:
            txn.bury(space)
            buried = [name for name, _ in txn.items(txn.tables.spaces, DROPPED)]
        for name in buried:
            while self._remove_some(name):
                pass

    def _remove_some(self, name: bytes) -> bool:
        """Remove records of a space that is being dropped; returns whether some may be left."""
        number = name.removeprefix(DROPPED)
        with self._transaction(write=True) as txn:
            for table in (txn.tables.vectors, txn.tables.states, txn.tables.positions):
                keys = [key for key, _ in islice(txn.items(table, number), REMOVED)]
                for key in keys:
                    txn.delete(table, key)
                if keys:
                    return True
            txn.delete(txn.tables.spaces, name)
        return False

    def size(self) -> dict[str, SpaceSize]:
        """See ``OnlineStore``."""
        with self._transaction() as txn:
            return {name: txn.size(number) for name, number in txn.spaces().items()}

    def check_writable(self) -> None:
        """See ``OnlineStore``."""
        with self._told():
            if self._open().read_only:
                self.close()  # it may be writable by now
        with self._transaction(write=True, flush=True) as txn:
            txn.put(txn.tables.notes, CHECK, MOMENT.pack(time.time_ns()))
        self._open().env.reader_check()

    def close(self) -> None:
        """See ``OnlineStore``; a store that is used again opens its folder again."""
        self._handle = None

    @contextmanager
    def _transaction(self, *, write: bool = False, flush: bool = False) -> Iterator[Records]:
        """All of what is done inside, or nothing; ``flush`` waits until no crash can undo it."""
        with self._told():
            opened = self._open()
            with opened.env.begin(write=write) as txn:
                yield Records(txn, opened.tables)
            if flush:
                opened.env.sync(True)

    def _open(self) -> Opened:
        if self._handle is None or self._handle.pid != _process.pid:
            self._handle = _open_once(self._folder, self._map_size)
        return self._handle

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say errors of LMDB and of the disk in our own words."""
        try:
            yield
        except (lmdb.Error, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: lmdb.Error | OSError) -> StoreError:
        return StoreError(f"the online store in {self._folder} {_what_to_do(error)} ({error})")


def _open_once(folder: str, map_size: int) -> Opened:
    with _opening:
        opened = _opened.get(folder)
        if opened is not None and opened.pid != _process.pid:
            opened.env.close()  # the process that forked this one off keeps its own
            opened = None
        if opened is None:
            opened = _opened[folder] = Opened(folder, map_size)
        return opened


def _environment(folder: str, map_size: int) -> lmdb.Environment:
    def opened(*, readonly: bool) -> lmdb.Environment:
        return lmdb.open(
            folder,
            map_size=map_size,
            readonly=readonly,
            metasync=False,
            readahead=False,  # users are read in no order
            max_readers=READERS,
            max_dbs=len(Tables._fields),
            max_spare_txns=1,
        )

    try:
        return opened(readonly=False)
    except lmdb.Error as error:
        if error.code not in DENIED:
            raise
        return opened(readonly=True)


def _what_to_do(error: lmdb.Error | OSError) -> str:
    if type(error) in WHAT_TO_DO:
        return WHAT_TO_DO[type(error)]
    code = error.code if isinstance(error, lmdb.Error) else error.errno
    if code in DENIED:
        return READ_ONLY
    return DISK if code in BROKEN else "cannot be used"
