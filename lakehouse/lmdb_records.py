"""Records of the online store in LMDB's tables, as one transaction sees and changes them.

A space has a number of four bytes, which begins the keys of its records: so they lie together, and
go together when it is dropped.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

from lakehouse.online import (
    MOMENT,
    SpaceSize,
    Update,
    moment_of,
    pack_state,
    require_name,
    unpack_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lmdb import Transaction, _Database

    from lakehouse.online import Row

NUMBER = struct.Struct(">I")
LONGEST = 300  # bytes of a user id in a key; LMDB takes keys of 511
HASHED = b"\xff"  # begins the hash of a longer one, and no text in UTF-8
DROPPED = b"\0"  # begins the name of a space whose records are being removed


class Tables(NamedTuple):
    """The tables of an environment."""

    spaces: _Database  # name -> number
    vectors: _Database  # number, user -> vector
    states: _Database  # number, user -> state
    positions: _Database  # number, partition -> offset
    notes: _Database  # name -> value
    erased: _Database  # subject -> at


class Records:
    """What is in the store.

    Args:
        txn: the transaction.
        tables: of its environment.
    """

    def __init__(self, txn: Transaction[bytes], tables: Tables) -> None:
        self._txn, self.tables = txn, tables

    def get(self, table: _Database, key: bytes) -> bytes | None:
        """The value of a key, None where there is none."""
        return self._txn.get(key, db=table)

    def put(self, table: _Database, key: bytes, value: bytes) -> None:
        """Write a value over what is there."""
        self._txn.put(key, value, db=table)

    def delete(self, table: _Database, key: bytes) -> bool:
        """Remove a key; returns whether it was there."""
        return self._txn.delete(key, db=table)

    def items(self, table: _Database, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin so and their values, in order."""
        cursor = self._txn.cursor(table)
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield key, value

    def spaces(self) -> dict[str, bytes]:
        """Numbers of the spaces by their names, in order."""
        return {
            name.decode(): number
            for name, number in self.items(self.tables.spaces)
            if not name.startswith(DROPPED)
        }

    def number(self, space: str) -> bytes | None:
        """The number of a space, None where there is none of that name."""
        return self.get(self.tables.spaces, require_name(space).encode())

    def made(self, space: str) -> bytes:
        """The number of a space, which is made where there is none."""
        number = self.number(space)
        if number is None:
            taken = [NUMBER.unpack(value)[0] for _, value in self.items(self.tables.spaces)]
            number = NUMBER.pack(max(taken, default=0) + 1)
            self.put(self.tables.spaces, space.encode(), number)
        return number

    def bury(self, space: str) -> None:
        """Take a space's name away; erasures still reach its records, by its number."""
        number = self.number(space)
        if number is not None:
            self.delete(self.tables.spaces, space.encode())
            self.put(self.tables.spaces, DROPPED + number, number)

    def of_users(self, table: _Database, space: str, user_ids: Sequence[str]) -> list[bytes | None]:
        """Records of users in the order asked for."""
        number = self.number(space)
        if number is None:
            return [None] * len(user_ids)
        return [self.get(table, key(number, user_id)) for user_id in user_ids]

    def erase(self, user_id: str) -> int:
        """Remove a user from all spaces, and from what is left of those dropped."""
        numbers = [number for _, number in self.items(self.tables.spaces)]
        return sum(
            self.delete(table, key(number, user_id))
            for number in numbers
            for table in (self.tables.vectors, self.tables.states)
        )

    def is_erased(self, subject: str) -> bool:
        """Whether a user was erased."""
        return self.get(self.tables.erased, subject.encode()) is not None

    def replace(self, number: bytes, update: Update) -> bool:
        """Write an update; returns False where it has to be made again."""
        if self.is_erased(update.subject):
            return True
        user = key(number, update.user_id)
        stored = unpack_state(self.get(self.tables.states, user))
        if update.version != (stored.version if stored else 0):
            return False
        self.put(self.tables.states, user, pack_state(update.version + 1, update.state))
        self._put_vector(user, update.vector)
        return True

    def add(self, number: bytes, row: Row) -> None:
        """Write what a batch knows of a user, where nothing newer is known."""
        user_id, state, vector = row
        user = key(number, user_id)
        if state is not None and self.get(self.tables.states, user) is None:
            self.put(self.tables.states, user, pack_state(1, state))
        self._put_vector(user, vector)

    def _put_vector(self, user: bytes, vector: bytes | None) -> None:
        if vector is None:
            return
        stored = self.get(self.tables.vectors, user)
        if stored is None or moment_of(vector) > moment_of(stored):
            self.put(self.tables.vectors, user, vector)

    def position(self, number: bytes) -> dict[str, int]:
        """Offsets of a space, by partition."""
        return {
            partition[NUMBER.size :].decode(): MOMENT.unpack(offset)[0]
            for partition, offset in self.items(self.tables.positions, number)
        }

    def advance(self, number: bytes, position: Mapping[str, int]) -> None:
        """Write offsets that are further than the stored ones."""
        before = self.position(number)
        for partition, offset in position.items():
            if offset > before.get(partition, -1):
                self.put(self.tables.positions, number + partition.encode(), MOMENT.pack(offset))

    def size(self, number: bytes) -> SpaceSize:
        """What a space holds."""
        users = vector_bytes = state_bytes = 0
        for _, vector in self.items(self.tables.vectors, number):
            users += 1
            vector_bytes += len(vector)
        for user, state in self.items(self.tables.states, number):
            users += self.get(self.tables.vectors, user) is None
            state_bytes += len(state)
        return SpaceSize(users, vector_bytes, state_bytes)


def key(number: bytes, user_id: str) -> bytes:
    """The key of a user in a space; a hash stands for an id too long for a key."""
    name = user_id.encode("utf-8", "surrogatepass")
    if len(name) > LONGEST:
        name = HASHED + hashlib.sha256(name).digest()
    return number + name
