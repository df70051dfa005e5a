"""The online store in a Redis of version 6.2 or later, or what speaks as it does, such as Valkey.

Keys of a space are ``tp:SPACE:v:USER`` for vectors, ``tp:SPACE:s:USER`` for states and
``tp:SPACE:p`` for the position. ``tp:spaces`` counts the writes of each space; ``tp:erased`` and
``tp:notes`` are what they say. What has to happen at once is one of ``lakehouse.redis_scripts``:
they name keys that they are not told of, so **Redis Cluster is not supported**.

What was answered outlives a crash with ``appendonly yes`` and ``appendfsync always``. With
``everysec`` the last two seconds may go: of states nothing is lost, for the position goes with them
and the log is read again from there, but erasures and notes are in no log. A write whose answer was
lost is asked again under the same name, and answered as before.
"""

from __future__ import annotations

import random
import time
import uuid
from itertools import islice
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,  # noqa: A004 - Redis's own, which is no OSError
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004
)
from redis.retry import Retry

from lakehouse import redis_scripts as scripts
from lakehouse.online import (
    SpaceSize,
    State,
    StoreError,
    Update,
    end_of,
    fresh,
    pack_state,
    require_name,
    unpack_state,
)
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lakehouse.online import Row

PATIENCE = 10.0  # seconds for which a Redis that does not answer is asked again
FIRST, LONGEST = 0.02, 1.0  # seconds between two such attempts, at most
TIMEOUT = 10.0  # seconds that an answer may take
REMEMBERED = 300  # seconds for which the answer to a write is kept; far more than PATIENCE
ROWS = 250  # of a load that Redis writes while all others wait
SCANNED = 1_000  # keys that one step looks at
MILLISECOND = 1_000  # microseconds


class RedisStore:
    """An ``OnlineStore`` in a Redis; threads and forked processes may share it.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads it; what it says of users
            and passwords is in no message.
        patience: seconds for which a Redis that does not answer is asked again.

    Raises:
        InputError: the URL is not one.
        StoreError: Redis does not answer, or refuses us.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self._client, self._patience = _client(url), patience
        told = self._client.connection_pool.connection_kwargs
        self._place = told.get("path") or f"{told.get('host')}:{told.get('port')}"
        self._update = self._client.register_script(scripts.UPDATE)
        self._load = self._client.register_script(scripts.LOAD)
        self._set_note = self._client.register_script(scripts.SET_NOTE)
        self._erase = self._client.register_script(scripts.ERASE)
        self._forget = self._client.register_script(scripts.FORGET)
        self._ask(self._client.ping)

    def vectors(
        self, space: str, user_ids: Sequence[str], now: int | None = None
    ) -> list[bytes | None]:
        """See ``OnlineStore``."""
        return fresh(self._of_users(space, "v", user_ids), now)

    def states(self, space: str, user_ids: Sequence[str]) -> list[State | None]:
        """See ``OnlineStore``."""
        return list(map(unpack_state, self._of_users(space, "s", user_ids)))

    def update(
        self, space: str, updates: Sequence[Update], position: Mapping[str, int]
    ) -> list[bool]:
        """See ``OnlineStore``."""
        told: list[Any] = [REMEMBERED, require_name(space), len(updates)]
        for one in updates:
            version = pack_state(one.version, b"") if one.version else b""
            state = pack_state(one.version + 1, one.state)
            told += [_user(one.user_id), one.subject, version, state, *_vector(one.vector)]
        told += [part for offset in position.items() for part in offset]
        return [done == ord("1") for done in self._once(self._update, told)]

    def load(
        self,
        space: str,
        rows: Iterable[Row],
        subject_of: Callable[[str], str] | None = None,
    ) -> int:
        """See ``OnlineStore``."""
        left, count = iter(rows), 0
        while some := list(islice(left, ROWS)):
            count += len(some)
            told: list[Any] = [require_name(space)]
            for user_id, state, vector in some:
                subject = subject_of(user_id) if subject_of else ""
                record = b"" if state is None else pack_state(1, state)
                told += [_user(user_id), subject, record, *_vector(vector)]
            self._ask(self._load, args=told)
        return count

    def position(self, space: str) -> dict[str, int]:
        """See ``OnlineStore``."""
        stored = self._ask(self._client.hgetall, f"tp:{require_name(space)}:p")
        return {partition.decode(): int(offset) for partition, offset in stored.items()}

    def note(self, name: str) -> bytes | None:
        """See ``OnlineStore``."""
        return self._ask(self._client.hget, "tp:notes", require_name(name))

    def set_note(self, name: str, value: bytes, expected: bytes | None) -> bool:
        """See ``OnlineStore``."""
        told = [REMEMBERED, require_name(name), value]
        return self._once(self._set_note, told if expected is None else [*told, expected]) == b"1"

    def erase(self, user_id: str, subject: str, at: int) -> int:
        """See ``OnlineStore``."""
        return self._ask(self._erase, args=[_user(user_id), subject, at])

    def erased(self, subjects: Sequence[str]) -> list[bool]:
        """See ``OnlineStore``."""
        if not subjects:
            return []
        known = self._ask(self._client.hmget, "tp:erased", list(subjects))
        return [at is not None for at in known]

    def spaces(self) -> list[str]:
        """See ``OnlineStore``."""
        return sorted(name.decode() for name in self._ask(self._client.hkeys, "tp:spaces"))

    def drop(self, space: str) -> None:
        """See ``OnlineStore``; a space is named until a look at all keys has found none of it."""
        while True:
            writes = self._ask(self._client.hget, "tp:spaces", require_name(space))
            if writes is None:
                return
            left = False
            for keys in self._keys(space):
                left = True
                self._ask(self._client.unlink, *keys)
            if not left and self._ask(self._forget, args=[space, writes]):
                return

    def size(self) -> dict[str, SpaceSize]:
        """See ``OnlineStore``; about, while others write."""
        return {space: self._size(space) for space in self.spaces()}

    def check_writable(self) -> None:
        """See ``OnlineStore``; also that Redis may not throw states away to make room."""
        self._ask(self._client.set, "tp:check", time.time_ns(), px=1)
        policy = self._ask(self._client.info, "memory").get("maxmemory_policy", "")
        if policy.startswith("allkeys"):
            raise StoreError(
                f"the Redis at {self._place} forgets what it has no room for (maxmemory-policy "
                f"{policy}), and states are found nowhere else: set noeviction"
            )

    def close(self) -> None:
        """See ``OnlineStore``."""
        self._client.close()

    def _of_users(self, space: str, kind: str, user_ids: Sequence[str]) -> list[bytes | None]:
        prefix = f"tp:{require_name(space)}:{kind}:".encode()
        keys = [prefix + _user(user_id) for user_id in user_ids]
        return self._ask(self._client.mget, keys) if keys else []

    def _keys(self, space: str) -> Iterator[list[bytes]]:
        """All keys of a space, in steps; one may come twice."""
        cursor = None
        while cursor != 0:
            cursor, keys = self._ask(self._client.scan, cursor or 0, f"tp:{space}:*", SCANNED)
            if keys:
                yield keys

    def _size(self, space: str) -> SpaceSize:
        prefixes = [f"tp:{space}:{kind}:".encode() for kind in "vs"]
        users = vector_bytes = state_bytes = 0
        for keys in self._keys(space):
            vectors, states = ([key for key in keys if key.startswith(one)] for one in prefixes)
            of_states = [prefixes[0] + key.removeprefix(prefixes[1]) for key in states]
            lengths = self._lengths([*vectors, *states, *of_states])
            vector_bytes += sum(lengths[: len(vectors)])
            state_bytes += sum(lengths[len(vectors) : len(vectors) + len(states)])
            users += len(vectors) + lengths[len(vectors) + len(states) :].count(0)
        return SpaceSize(users, vector_bytes, state_bytes)

    def _lengths(self, keys: Sequence[bytes]) -> list[int]:
        """Bytes of each value, 0 for none."""

        def ask() -> Any:
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.strlen(key)
                return pipe.execute()

        return self._ask(ask)

    def _once(self, script: Any, told: list[Any]) -> bytes:
        """Run a script that keeps its answer, so that asking again changes nothing."""
        answer = f"tp-answer:{uuid.uuid4().hex}"
        return self._ask(script, keys=[answer], args=told)

    def _ask(self, asked: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """What Redis answers; while it does not, it is asked again for a bounded time.

        Raises:
            StoreError: it still does not answer, or it refuses.
        """
        give_up, wait = time.monotonic() + self._patience, FIRST
        while True:
            try:
                return asked(*given, **named)
            except RedisError as error:
                gone = isinstance(error, (ConnectionError, TimeoutError))
                denied = isinstance(error, (AuthenticationError, AuthorizationError))
                if not gone or denied or time.monotonic() + wait > give_up:
                    raise StoreError(
                        f"the Redis at {self._place} {_what_to_do(error)} ({error})"
                    ) from error
            time.sleep(random.uniform(0, wait))  # noqa: S311 - no secret
            wait = min(2 * wait, LONGEST)


def _client(url: str) -> Redis:
    once = Retry(NoBackoff(), 0)  # we ask again ourselves, for a time and not for a number
    try:
        return Redis.from_url(
            url, retry=once, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
        )
    except ValueError:
        raise InputError(
            "the URL of the online store is none that Redis knows: redis://HOST:PORT/DATABASE, "
            "and in users and passwords characters such as / # ? @ as %2F %23 %3F %40"
        ) from None  # it would tell the URL


def _what_to_do(error: RedisError) -> str:
    """What is wrong and what to do, after the name of the store."""
    match error:
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return "refuses this user: look at the user, the password and their rights"
        case ConnectionError() | TimeoutError():
            return "does not answer: start it, or look at the URL"
        case ReadOnlyError():
            return "is a replica and can only be read: give the URL of its primary"
        case OutOfMemoryError():
            return "is full: raise its maxmemory, or remove batches that nobody reads"
    if str(error).startswith("MISCONF"):
        return "cannot write its own disk: free space there, and look at its log"
    return "refused what it was asked"


def _user(user_id: str) -> bytes:
    return user_id.encode("utf-8", "surrogatepass")


def _vector(vector: bytes | None) -> tuple[bytes, int]:
    """A vector and its expiry in milliseconds, rounded up, as scripts take them."""
    if vector is None:
        return b"", 0
    return vector, -(-end_of(vector) // MILLISECOND)
