"""Who was erased, so that files which still name them bring nobody back.

A person is known by a keyed hash (HMAC-SHA256) of their id: the table ``erasures`` tells whether a
given id was erased and not who was, and without the key in ``LAKEHOUSE/erasure.key`` not even that.
Whoever loses the key loses the list.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakehouse.storage import Lakehouse

KEY_BYTES = 32
ONLY_OWNER = 0o600
UNPARSED = "_corrupt_record"  # where Spark keeps a line of JSON that it cannot parse
CELLS = re.compile(r'"(?:[^"\\]|\\.)*"|[^\t\n",;|:{}\[\]]+')  # what may be a value in such a line


@dataclass(frozen=True)
class Suppressed:
    """The people who were erased; travels to Spark's workers inside a function, never in a plan.

    Attributes:
        key: of the hash.
        subjects: the hashes.
    """

    key: bytes
    subjects: frozenset[str]

    def holds(self, user_id: str) -> bool:
        """Whether that person was erased."""
        return subject(self.key, user_id) in self.subjects

    def among(self, user_ids: pa.Array) -> pa.Array:
        """Whether each id, (N,) string, is of somebody erased; (N,) bool, false for null."""
        gone = [name for name in pc.unique(user_ids).to_pylist() if name and self.holds(name)]
        return pc.is_in(user_ids, value_set=pa.array(gone, user_ids.type))

    def told_in(self, rows: pa.Array) -> pa.Array:
        """Whether each raw row, (N,) JSON, holds the id of somebody erased; (N,) bool."""
        return pa.array(
            [row is not None and any(map(self.holds, values_in(row))) for row in rows.to_pylist()],
            pa.bool_(),
        )


def subject(key: bytes, user_id: str) -> str:
    """The keyed hash by which a person is known once they are erased, 64 hexadecimal digits."""
    return hmac.digest(key, user_id.encode(), "sha256").hex()


def suppressed(lake: Lakehouse) -> Suppressed | None:
    """Everybody whose erasure was asked for; None if nobody's was.

    Raises:
        InputError: somebody was erased and the key is gone.
    """
    if not lake.exists("erasures"):
        return None
    subjects = lake.rows("erasures", columns=["subject"])["subject"].to_pylist()
    return Suppressed(erasure_key(lake), frozenset(subjects)) if subjects else None


def erasure_key(lake: Lakehouse) -> bytes:
    """The lakehouse's key, made on first use; on a local disk only its owner may read it.

    Raises:
        InputError: there are erasures, and the key that they were made with is gone.
    """
    place = f"{lake.uri}/erasure.key"
    if lake.filesystem.exists(place):
        return bytes.fromhex(lake.filesystem.cat_file(place).decode())
    if lake.exists("erasures") and lake.open("erasures").count():
        raise InputError(
            f"{place} is gone, and without it nobody can tell who was erased from {lake.uri}: "
            "bring it back from a backup"
        )
    key = secrets.token_bytes(KEY_BYTES)
    if isinstance(lake.filesystem, LocalFileSystem):
        _write_private(place, key.hex())
    else:
        lake.write_text(place, key.hex())
    return key


def _write_private(place: str, text: str) -> None:
    """Write a small local file whole, that at no moment anybody else can read."""
    aside = f"{place}.{secrets.token_hex()}"
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, ONLY_OWNER), "w") as file:
        file.write(text)
    Path(aside).rename(place)


def values_in(row: str) -> set[str]:
    """Every value that a refused row holds, at any depth, as text.

    Args:
        row: the row as it came, JSON; of a line that could not be parsed, every piece.
    """
    try:
        parsed = json.loads(row, parse_int=str, parse_float=str)
    except ValueError:
        return set(_cells(row))
    return set(_values(parsed))


def _values(value: Any, name: str = "") -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _values(inner, key)
        case list():
            for inner in value:
                yield from _values(inner, name)
        case str():
            yield value
            if name == UNPARSED:
                yield from _cells(value)


def _cells(line: str) -> Iterator[str]:
    for cell in CELLS.findall(line):
        if not cell.startswith('"'):
            yield cell.strip()
            yield from cell.split()
            continue
        try:
            yield json.loads(cell)
        except ValueError:
            yield cell.strip('"')
