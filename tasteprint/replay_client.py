"""The near-real-time service as a replay asks it: who comes again, when, and what is an error.

Events may be sent twice, for the service counts an ``event_id`` once. So whatever says "come again"
(429, 503, and 502 and 504 of what stands between), and whatever is not answered at all, is sent
again, unchanged, until it is answered or patience ends.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from ray_apps.nrt_bodies import Accepted, Embedding, Embeddings, Nearest
from schemas.errors import TasteprintError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tasteprint.replay_tally import Tally

AGAIN = frozenset({429, 502, 503, 504})
HALVED = frozenset({410, 413})  # of many events one is of somebody erased, or they are too long
ANSWERS = HALVED | {200, 202, 404, 422}
TIMEOUT = 30.0  # seconds for one answer, three times what the service gives itself
PATIENCE = 120.0  # seconds for which one request comes again
RETRY_AFTER = 1.0  # seconds, where nobody says how many
SPREAD = 0.5  # share of that time that is added at random: not all shall come again at once
QUOTED = 300  # characters of an answer that an error repeats
M = TypeVar("M", bound=BaseModel)


class ServiceError(TasteprintError):
    """The service cannot be replayed into; the message says why, and what to do."""


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: of HTTP.
        body: as it came.
        seconds: that it took, of the last attempt alone.
        retry_after: seconds after which to come again.
    """

    status: int
    body: bytes
    seconds: float
    retry_after: float


class Service:
    """Asks the service, and comes again when told to.

    Args:
        session: that sends the token.
        url: of the service.
        tally: where answers are counted.
        patience: seconds for which one request comes again.
    """

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tally: Tally, patience: float = PATIENCE
    ) -> None:
        self._session, self._url = session, url.rstrip("/")
        self._tally, self._patience = tally, patience

    async def require_ready(self) -> None:
        """Raise ServiceError unless the service answers at once, and takes events from us."""
        for method, path in (("GET", "/readyz"), ("POST", "/v1/events")):
            try:
                answer = await self._attempt(method, path, b"{}" if method == "POST" else None)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise ServiceError(
                    f"nobody answers at {self._url} ({_said(error)}): start it with "
                    "`tasteprint serve`, or give its --url"
                ) from error
            if answer.status not in {200, 202}:
                raise _refusal(self._url, answer)

    async def send(self, listens: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        """Send events until they are answered.

        Where the service takes none of them because of one, each half is sent by itself.

        Returns:
            what is wrong with each, nothing for those that the service has now.

        Raises:
            ServiceError: it did not answer for very long, or says something else.
        """
        answer = await self._ask("POST", "/v1/events", to_json({"listens": listens}))
        if answer.status in HALVED and len(listens) > 1:
            half = len(listens) // 2
            return await self.send(listens[:half]) + await self.send(listens[half:])
        self._tally.answered.append(answer.seconds)
        if answer.status in HALVED:
            reasons = [[_detail(answer)]]
        else:
            reasons = self._reasons(answer, len(listens))
        self._tally.count(reasons)
        return reasons

    async def embeddings(self, user_ids: Sequence[str]) -> list[Embedding]:
        """The vectors of users, in their order.

        Raises:
            ServiceError: as ``send``.
        """
        asked = to_json({"user_ids": user_ids})
        answer = await self._ask("POST", "/v1/embeddings:batchGet", asked)
        return self._parsed(answer, Embeddings).embeddings

    async def nearest(self, user_id: str, count: int) -> list[str]:
        """The ids of the items nearest to a user; none where the user has no vector yet.

        Raises:
            ServiceError: as ``send``.
        """
        path = f"/v1/users/{quote(user_id, safe='')}/items?count={count}"
        answer = await self._ask("GET", path, None)
        if answer.status == 404:  # noqa: PLR2004 - HTTP's own
            return []
        return [near.id for near in self._parsed(answer, Nearest).nearest]

    def _reasons(self, answer: Answer, count: int) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in range(count)]
        for refused in self._parsed(answer, Accepted).refused:
            found[refused.index] = refused.reasons
        return found

    def _parsed(self, answer: Answer, model: type[M]) -> M:
        try:
            return model.model_validate_json(answer.body)
        except ValidationError:
            raise _refusal(self._url, answer) from None

    async def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        """Ask until there is an answer."""
        give_up = time.monotonic() + self._patience
        while True:
            try:
                answer = await self._attempt(method, path, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                wait, fault = RETRY_AFTER, ServiceError(f"{self._url} is gone ({_said(error)})")
            else:
                if answer.status in ANSWERS:
                    return answer
                wait, fault = answer.retry_after, _refusal(self._url, answer)
                if answer.status not in AGAIN:
                    raise fault
            self._tally.put_off += 1
            wait *= 1 + random.uniform(0, SPREAD)  # noqa: S311 - no secret
            if time.monotonic() + wait > give_up:
                raise ServiceError(
                    f"{fault}; gave up after {self._patience:g} s. The same command sends the "
                    "same events again, and each counts once"
                )
            await asyncio.sleep(wait)

    async def _attempt(self, method: str, path: str, body: bytes | None) -> Answer:
        began = time.monotonic()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with self._session.request(
            method, f"{self._url}{path}", data=body, headers=headers, allow_redirects=False
        ) as answer:
            said = await answer.read()
            seconds = time.monotonic() - began
            return Answer(answer.status, said, seconds, _retry_after(answer.headers))


@asynccontextmanager
async def open_service(
    url: str, token: str, tally: Tally, patience: float = PATIENCE
) -> AsyncIterator[Service]:
    """A service, as long as it is asked."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        connector=aiohttp.TCPConnector(limit=0),  # whoever sends knows how much at a time
    ) as session:
        yield Service(session, url, tally, patience)


def _retry_after(headers: Mapping[str, str]) -> float:
    said = headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else RETRY_AFTER


def _refusal(url: str, answer: Answer) -> ServiceError:
    said = f"{url} says {answer.status}: {_detail(answer)}"
    if answer.status in {401, 403}:
        said += "; `tasteprint tokens NAME --scope events:write --scope vectors:read` makes one"
    return ServiceError(said)


def _detail(answer: Answer) -> str:
    """What the service says of a fault, in its own words where there are any."""
    try:
        said = from_json(answer.body)
    except ValueError:
        return answer.body[:QUOTED].decode(errors="replace") or "nothing"
    return str(said.get("detail", said) if isinstance(said, dict) else said)[:QUOTED]


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
