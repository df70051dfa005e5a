"""The online store: for each user the vector that consumers read, and the state it is made from.

Rows lie in *spaces*. A space is a batch and the moment its rows were made, such as
``20261123-101500-ab12@1763892900000000``; vectors of two spaces cannot be compared. Many processes
read and write at once and nothing is lost: a state is replaced only by who has read it as it still
is, and how far the log has been read is written in the same transaction as what was made of it.

Two stores keep this promise: ``lakehouse.online_lmdb`` in a folder of one machine, and
``lakehouse.online_redis`` in a Redis that many machines share.
"""

from __future__ import annotations

import re
import struct
import time
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

import numpy as np

from schemas.errors import InputError, TasteprintError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

REDIS = ("redis://", "rediss://", "unix://")
NAME = re.compile(r"[A-Za-z0-9._@-]{1,200}")

Dtype = Literal["float32", "float16"]
Source = Literal["nrt", "batch", "cold_start"]
Status = Literal["established", "cold_start"]

# as_of comes first and big-endian, so that a store can compare two records without parsing them;
# 20 bytes keep the numbers aligned.
HEADER = struct.Struct(">QQ4B")  # as_of, expires_at, FORM, dtype, source, status
MOMENT = struct.Struct(">Q")
FORM = 1  # of the record; a later form is refused, not misread
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
NUMBERS = ("<f4", "<f2")  # of DTYPES, as they are stored
SOURCES: tuple[Source, ...] = get_args(Source)
STATUSES: tuple[Status, ...] = get_args(Status)


class StoreError(TasteprintError):
    """The online store cannot be read or written now; the message says what to do."""

    exit_status = 6


class Vector(NamedTuple):
    """One user's vector and what is known of it.

    Attributes:
        values: (d,) float32; read-only where it was unpacked.
        as_of: microseconds since 1970, when what it was made from was known.
        expires_at: microseconds since 1970, from when on nobody reads it; 0 for never.
        source: who made it.
        status: as in ``user_embeddings``.
    """

    values: np.ndarray
    as_of: int
    expires_at: int
    source: Source
    status: Status


class State(NamedTuple):
    """What a vector is made from, and how often it was written."""

    version: int
    value: bytes


class Update(NamedTuple):
    """What is new of one user.

    Attributes:
        user_id: who.
        subject: the keyed hash by which the user is known once erased.
        version: of the state that was read, 0 where there was none.
        state: that replaces it.
        vector: a packed vector; None leaves the stored one.
    """

    user_id: str
    subject: str
    version: int
    state: bytes
    vector: bytes | None


Row = tuple[str, bytes | None, bytes | None]  # user id, state, packed vector


class SpaceSize(NamedTuple):
    """What a space holds, without what the store itself needs for it.

    Attributes:
        users: who have a vector or a state.
        vector_bytes: of all vector records.
        state_bytes: of all state records.
    """

    users: int
    vector_bytes: int
    state_bytes: int


class OnlineStore(Protocol):
    """What both stores do; every method raises StoreError where the store does not answer."""

    def vectors(
        self, space: str, user_ids: Sequence[str], now: int | None = None
    ) -> list[bytes | None]:
        """Packed vectors in the order asked for; None where there is none, or it has expired.

        Args:
            space: of the vectors.
            user_ids: whose.
            now: microseconds since 1970; None for the clock's.
        """

    def states(self, space: str, user_ids: Sequence[str]) -> list[State | None]:
        """States in the order asked for, None where there is none."""

    def update(
        self, space: str, updates: Sequence[Update], position: Mapping[str, int]
    ) -> list[bool]:
        """Write new states and vectors, and how far the log has been read, in one transaction.

        A state whose version is not the stored one any more is refused with its vector, and with
        one refused the position stays as it was. A vector is kept only where it is newer than the
        stored one. Nothing is written of a user who was erased, which counts as done.

        Args:
            space: is made where there is none.
            updates: what to write.
            position: offsets after the last record by partition; an offset never goes back.

        Returns:
            For each update whether it is done; those refused have to be made again from a state
            that is read again.
        """

    def load(
        self,
        space: str,
        rows: Iterable[Row],
        subject_of: Callable[[str], str] | None = None,
    ) -> int:
        """Write what a batch knows; may be repeated, and run beside updates.

        A vector is kept only where it is newer than the stored one, and a state only where there
        is none, for a stored one may have seen events since.

        Args:
            space: is made where there is none.
            rows: of any number; they are written in transactions of bounded size.
            subject_of: the keyed hash of a user id, so that rows of who was erased are left out;
                None where they hold nobody erased.

        Returns:
            How many rows there were.
        """

    def position(self, space: str) -> dict[str, int]:
        """How far the log has been read for a space: offsets by partition."""

    def note(self, name: str) -> bytes | None:
        """A small fact that all processes share, None where nobody has noted it."""

    def set_note(self, name: str, value: bytes, expected: bytes | None) -> bool:
        """Note a fact if what is noted still is what was expected; returns whether it was."""

    def erase(self, user_id: str, subject: str, at: int) -> int:
        """Remove a user from all spaces for good, in one transaction; may be repeated.

        Args:
            user_id: who.
            subject: the keyed hash by which later updates are known to be of that user.
            at: microseconds since 1970.

        Returns:
            How many records were removed.
        """

    def erased(self, subjects: Sequence[str]) -> list[bool]:
        """Whether each was erased."""

    def spaces(self) -> list[str]:
        """Names of all spaces, sorted."""

    def drop(self, space: str) -> None:
        """Remove a space that nobody writes to any more, in bounded steps; may be repeated."""

    def size(self) -> dict[str, SpaceSize]:
        """What each space holds; reads everything."""

    def check_writable(self) -> None:
        """Write something, and raise StoreError if that fails."""

    def close(self) -> None:
        """Let go of files and connections."""


LARGEST = 2**40  # bytes; a file takes only what is in it


def open_store(url: str, size: int = LARGEST) -> OnlineStore:
    """Open the store of a URL; each process opens its own.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` for a Redis; any other text is a folder.
        size: bytes that a store in a folder may grow to.

    Raises:
        InputError: the store's library is not installed.
        StoreError: there is no store, and none can be made.
    """
    try:
        if url.startswith(REDIS):
            from lakehouse.online_redis import RedisStore

            return RedisStore(url)
        from lakehouse.online_lmdb import LmdbStore

        return LmdbStore(url, size)
    except ImportError as error:
        raise InputError(
            f"the online store needs the library {error.name}: pip install 'tasteprint[serve]'"
        ) from error


def pack_vector(vector: Vector, dtype: Dtype = "float32") -> bytes:
    """A vector as a record: 20 bytes of header and little-endian numbers.

    Raises:
        InputError: it is not a row of finite numbers, or a moment is before 1970.
    """
    form = DTYPES.index(dtype)
    with np.errstate(over="ignore"):  # what float16 cannot hold is infinite, and refused below
        numbers = np.asarray(vector.values).astype(NUMBERS[form])
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise InputError(f"a vector of shape {numbers.shape} is no row of finite {dtype}")
    if min(vector.as_of, vector.expires_at) < 0:
        raise InputError(f"as_of {vector.as_of} or expires_at {vector.expires_at} is before 1970")
    source, status = SOURCES.index(vector.source), STATUSES.index(vector.status)
    header = HEADER.pack(vector.as_of, vector.expires_at, FORM, form, source, status)
    return header + numbers.tobytes()


def unpack_vector(record: bytes) -> Vector:
    """The vector of a record.

    Raises:
        StoreError: the record is not one of this version.
    """
    if len(record) < HEADER.size or record[2 * MOMENT.size] != FORM:
        raise StoreError(
            f"a vector's record of {len(record)} bytes is not of form {FORM}: a newer tasteprint "
            "may have written it; use the same version everywhere, or drop the space and load it"
        )
    as_of, expires_at, _, dtype, source, status = HEADER.unpack_from(record)
    numbers = np.frombuffer(record, NUMBERS[dtype], offset=HEADER.size)
    values = numbers.astype(np.float32, copy=False)  # (d,)
    return Vector(values, as_of, expires_at, SOURCES[source], STATUSES[status])


def moment_of(record: bytes) -> int:
    """When what a packed vector was made from was known, in microseconds since 1970."""
    return int(MOMENT.unpack_from(record)[0])


def end_of(record: bytes) -> int:
    """From when on nobody reads a packed vector, in microseconds since 1970; 0 for never."""
    return int(MOMENT.unpack_from(record, MOMENT.size)[0])


def fresh(records: Iterable[bytes | None], now: int | None) -> list[bytes | None]:
    """Packed vectors, None in the place of those that have expired."""
    moment = time.time_ns() // 1_000 if now is None else now
    return [record if record and not 0 < end_of(record) <= moment else None for record in records]


def pack_state(version: int, value: bytes) -> bytes:
    """A state as a record: its version, which a store can compare, and the bytes."""
    return MOMENT.pack(version) + value


def unpack_state(record: bytes | None) -> State | None:
    """The state of a record, None for none."""
    if record is None:
        return None
    return State(MOMENT.unpack_from(record)[0], record[MOMENT.size :])


def require_name(name: str) -> str:
    """The name of a space or a note, which becomes part of keys.

    Raises:
        InputError: it has other characters than those allowed, or too many.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name[:64]!r} cannot name a space or a note: 1 to 200 of letters, digits and . _ @ -"
        )
    return name
