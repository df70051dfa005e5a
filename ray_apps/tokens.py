"""Who may call the service: bearer tokens, and the scopes of each.

A token file has a line for each token, and knows its hash alone; ``#`` begins a comment::

    web-player  events:write,vectors:read  sha256:9f86d081884c7d65…

``new_token`` makes a token and its line. Where there is no place for a file, the same is said with
the tokens themselves: ``NAME:SCOPE+SCOPE:TOKEN;NAME:SCOPE:TOKEN``. No message and no ``repr`` here
says a token, a hash, or what somebody may have taken for one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard, get_args

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

Scope: TypeAlias = Literal["events:write", "vectors:read", "users:erase", "admin"]

SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
LISTED = ", ".join(get_args(Scope))
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HASH = re.compile(r"sha256:([0-9a-f]{64})")
SHORTEST = 16  # characters of a token: one hash keeps no secret that can be guessed
RANDOM = 32  # bytes of a new token
PREFIX = "tp_"  # by which a token is found where it should not be
SCHEME = "bearer "
LOOKS = 1.0  # seconds between two looks at the file
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class _Entry:
    name: str
    scopes: frozenset[Scope]
    digest: bytes = field(repr=False)


class Tokens:
    """The tokens of a service; made by ``from_file`` or ``from_text``.

    Args:
        entries: one for each token.
        path: of the file that they are from, which is read again when it changes.
        stamp: what the file looked like.
    """

    def __init__(
        self,
        entries: tuple[_Entry, ...],
        path: str | Path | None = None,
        stamp: tuple[int, ...] = (),
    ) -> None:
        self._entries, self._path, self._stamp = entries, path, stamp
        self._next_look = time.monotonic() + LOOKS

    @classmethod
    def from_file(cls, path: str | Path) -> Tokens:
        """Read a token file.

        Raises:
            InputError: it cannot be read, others can read it too, or a line is no token's.
        """
        entries, stamp = _read(path)
        return cls(entries, path, stamp)

    @classmethod
    def from_text(cls, text: str) -> Tokens:
        """Read tokens as ``TASTEPRINT_TOKENS`` has them.

        Raises:
            InputError: an entry is none.
        """
        parts = [part.strip() for part in text.split(";")]
        entries = [
            _plain(part, f"TASTEPRINT_TOKENS, entry {number}")
            for number, part in enumerate(parts, start=1)
            if part
        ]
        return cls(_together(entries, "TASTEPRINT_TOKENS"))

    def scopes_of(self, authorization: str | None) -> frozenset[Scope] | None:
        """What the bearer of a token may do.

        A file that has changed is read again within a second: a token that was taken out is
        nobody's from then on, and a file that cannot be used lets nobody in until it can.

        Args:
            authorization: the header ``Authorization``, None where there is none.

        Returns:
            the scopes, all of them for an admin; None for nobody we know.

        Raises:
            InputError: the file has changed and cannot be used: answer that it is our fault.
        """
        if self._path is not None and time.monotonic() >= self._next_look:
            self._look(self._path)
        if authorization is None or authorization[: len(SCHEME)].lower() != SCHEME:
            return None
        digest = _digest(authorization[len(SCHEME) :].strip())
        found = None
        for entry in self._entries:  # all of them, so that the time tells nothing
            if hmac.compare_digest(entry.digest, digest):
                found = entry.scopes
        return found

    def _look(self, path: str | Path) -> None:
        """Read the file again if it is another; looked at by every call until it can be used."""
        if _stamp_of(path) != self._stamp:
            self._entries, self._stamp = _read(path)
        self._next_look = time.monotonic() + LOOKS


def new_token(name: str, scopes: Collection[str]) -> tuple[str, str]:
    """Make a token that nobody can guess.

    Returns:
        the token, which is to be shown once and kept nowhere here; and its line of a token file.

    Raises:
        InputError: the name cannot stand in a line, or a scope is none.
    """
    fault = _fault(name, scopes)
    if fault:
        raise InputError(f"no token for that: {fault}")
    token = PREFIX + secrets.token_urlsafe(RANDOM)
    return token, f"{name} {','.join(sorted(set(scopes)))} sha256:{_digest(token).hex()}"


def _read(path: str | Path) -> tuple[tuple[_Entry, ...], tuple[int, ...]]:
    """The entries of a file, and what the same file looked like."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            lines = [line.partition("#")[0].split() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the token file {path} cannot be read: {_why(error)}") from None
    if status.st_mode & OTHERS:
        raise InputError(
            f"others than its owner may use the token file {path}: run chmod 600 {path}"
        )
    entries = [
        _hashed(words, f"{path}, line {number}")
        for number, words in enumerate(lines, start=1)
        if words
    ]
    return _together(entries, str(path)), _stamp(status)


def _stamp_of(path: str | Path) -> tuple[int, ...]:
    try:
        return _stamp(Path(path).stat())
    except OSError as error:
        raise InputError(f"the token file {path} cannot be read: {_why(error)}") from None


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What is another after the file was written, replaced, or opened to others."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def _why(error: OSError | UnicodeDecodeError) -> str:
    """The reason alone: a decoding error's own message quotes what it could not read."""
    return error.strerror or "" if isinstance(error, OSError) else "it is no UTF-8"


def _hashed(words: list[str], where: str) -> _Entry:
    """An entry of a token file."""
    found = HASH.fullmatch(words[-1])
    if len(words) != len(("name", "scopes", "hash")) or found is None:
        raise InputError(f"{where}: not of the form NAME SCOPE,SCOPE sha256:HASH")
    return _entry(words[0], words[1].split(","), bytes.fromhex(found[1]), where)


def _plain(text: str, where: str) -> _Entry:
    """An entry of the environment; scopes have colons too, tokens have none."""
    name, _, rest = text.partition(":")
    scopes, _, token = rest.rpartition(":")
    if len(token) < SHORTEST:
        raise InputError(
            f"{where}: not of the form NAME:SCOPE+SCOPE:TOKEN with a token of {SHORTEST} "
            "characters or more"
        )
    return _entry(name, scopes.split("+"), _digest(token), where)


def _entry(name: str, scopes: list[str], digest: bytes, where: str) -> _Entry:
    fault = _fault(name, scopes)
    if fault:
        raise InputError(f"{where}: {fault}")
    known: frozenset[Scope] = frozenset(scope for scope in scopes if _is_scope(scope))
    return _Entry(name, SCOPES if "admin" in known else known, digest)


def _fault(name: str, scopes: Collection[str]) -> str | None:
    """What is wrong with a name and its scopes, without a word of theirs."""
    if not NAME.fullmatch(name):
        return "a name has 1 to 64 letters, digits, dots, dashes and underscores"
    if not scopes or not all(_is_scope(scope) for scope in scopes):
        return f"scopes are one or more of {LISTED}"
    return None


def _is_scope(text: str) -> TypeGuard[Scope]:
    return text in SCOPES


def _together(entries: list[_Entry], where: str) -> tuple[_Entry, ...]:
    """All entries, of which no two may be of one name or one token."""
    if len({entry.name for entry in entries}) < len(entries):
        raise InputError(f"{where}: two entries have the same name; give each caller its own")
    if len({entry.digest for entry in entries}) < len(entries):
        raise InputError(f"{where}: two entries have the same token; make one for each caller")
    return tuple(entries)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
