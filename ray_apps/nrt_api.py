"""The service over HTTP: who may ask, what a request may be, which answer goes with which fault."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lakehouse.event_log import LogFullError
from lakehouse.online import StoreError
from ray_apps.nrt_bodies import (
    LONGEST_ID,
    Accepted,
    Anonymous,
    BatchGet,
    Embedding,
    Embeddings,
    Events,
    Fault,
    Nearest,
)
from ray_apps.nrt_reads import BINARY, FastReads, as_binary, as_json
from ray_apps.nrt_service import BusyError, GoneError
from schemas.errors import BatchError, InputError
from schemas.settings import complaints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lakehouse.event_codec import Event
    from ray_apps.nrt_metrics import Metrics
    from ray_apps.nrt_service import NrtService
    from ray_apps.tokens import Scope, Tokens

log = logging.getLogger("ray.serve")

MOST_BYTES = 1 << 20  # of a body
SECONDS = 10.0  # for an answer
RETRY_AFTER = "1"  # seconds
TITLE = "Tasteprint, near real time"
BINARY_TOO: dict[str, Any] = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}
FAULTS: dict[type[Exception], int] = {
    BusyError: 429,
    GoneError: 410,
    BatchError: 404,
    LogFullError: 507,
    StoreError: 503,
    TimeoutError: 504,
}
# Faults of ours name folders and hosts, which are nobody's business out there; the log has them.
OURS: dict[type[Exception], str] = {
    LogFullError: "the event log takes nothing now, and none of these events: send them again",
    StoreError: "the online store cannot do that now: ask again",
}
GONE_AWAY = 499  # as nginx counts who did not wait
LOG_EVERY = 1.0  # seconds between two lines of one fault
M = TypeVar("M", bound=BaseModel)
UserId = Annotated[str, Path(min_length=1, max_length=LONGEST_ID)]
BatchName = Annotated[str, Query(max_length=64, description="live, legacy, or a batch's id")]
Word = Annotated[str | None, Query(max_length=64)]
Count = Annotated[int, Query(ge=1, le=1_000)]


class Inference(Protocol):
    """What needs the model or an index, in another process."""

    async def embed(
        self, batch_id: str, events: Sequence[Event], user: dict[str, Any]
    ) -> dict[str, Any]:
        """A vector of that batch for somebody without an account."""

    async def nearest(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The nearest users or items."""


def build_api(
    service: NrtService,
    tokens: Tokens,
    inference: Inference,
    metrics: Metrics,
    ready: Callable[[], Awaitable[str | None]],
) -> FastReads:
    """The service as an ASGI application.

    Args:
        service: that answers.
        tokens: who may ask.
        inference: that makes vectors and finds neighbours.
        metrics: what is counted.
        ready: says why the service cannot answer yet; None when it can.
    """
    api = FastAPI(title=TITLE, version="1", docs_url=None, redoc_url=None, openapi_url=None)
    may = Permissions(tokens)
    _add_faults(api)
    _add_events(api, may, service)
    _add_vectors(api, may, service)
    _add_inference(api, may, service, inference)
    _add_operations(api, may, metrics, ready)
    return FastReads(Timed(api, metrics), service, tokens, metrics)


def _add_events(api: FastAPI, may: Permissions, service: NrtService) -> None:
    @api.post(
        "/v1/events",
        status_code=202,
        dependencies=[Depends(may("events:write"))],
        openapi_extra=_json_body(Events),
        responses=_faults(400, 410, 413, 415, 429, 503, 507) | {422: {"model": Accepted}},
        response_model=Accepted,
    )
    async def post_events(request: Request) -> Response:
        """Take events in; the answer comes once they are durable.

        Rows that do not fit their contract are named with 422 and kept apart; the good ones beside
        them are accepted. An event that comes again changes nothing.
        """
        events = await read_body(request, Events)
        async with asyncio.timeout(SECONDS):
            found = await service.accept(events.rows())
        return _json(found.model_dump(), 422 if found.refused else 202)

    @api.delete(
        "/v1/users/{user_id}",
        dependencies=[Depends(may("users:erase"))],
        responses=_faults(503),
    )
    async def erase(user_id: UserId) -> dict[str, int]:
        """Remove a person from the online store, in every batch, for good.

        `tasteprint forget` does the same in the lakehouse.
        """
        return {"removed": service.erase(user_id)}


def _add_vectors(api: FastAPI, may: Permissions, service: NrtService) -> None:
    @api.get(
        "/v1/users/{user_id}/embedding",
        dependencies=[Depends(may("vectors:read"))],
        responses=_faults(503) | {200: BINARY_TOO, 404: {"model": Embedding | Fault}},
        response_model=Embedding,
    )
    async def get_embedding(
        request: Request, user_id: UserId, batch: BatchName = "live"
    ) -> Response:
        """The vector of a user, the space that it belongs to, and how old it is.

        With ``Accept: application/octet-stream`` as little-endian float32, the rest in headers.
        """
        found = service.read(user_id, batch)
        if found is None:
            return _json(service.embeddings([user_id], batch)[0], 404)
        binary = request.headers.get("accept", "").encode() == BINARY
        headers, body = as_binary(found) if binary else as_json(found)
        return Response(body, headers={name.decode(): said.decode() for name, said in headers})

    @api.post(
        "/v1/embeddings:batchGet",
        dependencies=[Depends(may("vectors:read"))],
        openapi_extra=_json_body(BatchGet),
        responses=_faults(400, 404, 413, 415, 503),
        response_model=Embeddings,
    )
    async def batch_get(request: Request) -> Response:
        """The vectors of many users, all of one space, in the order of the ids."""
        asked = await read_body(request, BatchGet)
        return _json({"embeddings": service.embeddings(asked.user_ids, asked.batch)})


def _add_inference(
    api: FastAPI, may: Permissions, service: NrtService, inference: Inference
) -> None:
    async def near(what: str, user_id: str, batch: str, **asked: Any) -> Response:
        (found,) = service.embeddings([user_id], batch)
        if found["status"] == "missing":
            raise HTTPException(404, "there is no vector of that user")
        async with asyncio.timeout(SECONDS):
            return _json(await inference.nearest({"what": what, "of": found, **asked}))

    @api.post(
        "/v1/embed",
        dependencies=[Depends(may("vectors:read"))],
        openapi_extra=_json_body(Anonymous),
        responses=_faults(400, 404, 413, 415, 503) | {422: {"model": Accepted}},
        response_model=Embedding,
    )
    async def embed(request: Request) -> Response:
        """A vector for somebody who has no account yet; nothing is stored."""
        asked = await read_body(request, Anonymous)
        events, refused = service.judged_alone(asked)
        if refused:
            return _json(Accepted(accepted=0, refused=refused).model_dump(), 422)
        batch_id = service.batch_id(asked.batch)
        async with asyncio.timeout(SECONDS):
            return _json(await inference.embed(batch_id, events, asked.user.model_dump()))

    @api.get(
        "/v1/users/{user_id}/neighbours",
        dependencies=[Depends(may("vectors:read"))],
        responses=_faults(404, 503),
        response_model=Nearest,
    )
    async def neighbours(user_id: UserId, batch: BatchName = "live", count: Count = 10) -> Response:
        """The users whose vectors are nearest, as the batch has them."""
        return await near("users", user_id, batch, count=count)

    @api.get(
        "/v1/users/{user_id}/items",
        dependencies=[Depends(may("vectors:read"))],
        responses=_faults(404, 503),
        response_model=Nearest,
    )
    async def items(
        user_id: UserId,
        batch: BatchName = "live",
        count: Count = 10,
        kind: Word = None,
        language: Word = None,
    ) -> Response:
        """The items that lie nearest to the user, of one kind or language if asked."""
        return await near("items", user_id, batch, count=count, kind=kind, language=language)


def _add_operations(
    api: FastAPI, may: Permissions, metrics: Metrics, ready: Callable[[], Awaitable[str | None]]
) -> None:
    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "alive"}

    @api.get("/readyz", responses={503: {"model": Fault}})
    async def readyz() -> dict[str, str]:
        """Whether it can answer: a batch is served and models are warm."""
        why = await ready()
        if why is not None:
            raise HTTPException(503, why)
        return {"status": "ready"}

    @api.get(
        "/metrics",
        dependencies=[Depends(may("admin"))],
        response_class=PlainTextResponse,
        responses=_faults(),
    )
    async def prometheus() -> Response:
        """Counters and latencies of all processes of the service, for Prometheus."""
        content, kind = metrics.text()
        return Response(content, media_type=kind)

    @api.get("/openapi.json", dependencies=[Depends(may(None))], include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return api.openapi()


class Permissions:
    """Which token may do what.

    Args:
        tokens: that are known.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self, scope: Scope | None) -> Callable[[Request], Awaitable[None]]:
        """What a request has to pass: a token with that scope, or any token."""

        async def check(request: Request) -> None:
            try:
                held = self._tokens.scopes_of(request.headers.get("authorization"))
            except InputError:  # its message names a path, which is nobody's business out there
                log.exception("nobody is let in")
                raise HTTPException(503, "the service cannot tell who may ask") from None
            if held is None:
                raise HTTPException(401, "no valid bearer token", {"WWW-Authenticate": "Bearer"})
            if scope is not None and scope not in held:
                raise HTTPException(403, f"the token lacks the scope {scope}")

        return check


async def read_body(request: Request, model: type[M]) -> M:
    """The body of a request, which is JSON of that shape and not too long.

    Raises:
        HTTPException: it is not.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise HTTPException(415, "the body has to be application/json")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise HTTPException(413, f"the body is longer than {MOST_BYTES:,} bytes")
    except ClientDisconnect:
        raise HTTPException(GONE_AWAY, "the caller went away") from None
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        raise HTTPException(400, "; ".join(complaints(error))[:2_000]) from None


def _json(content: Any, status: int = 200) -> Response:
    return Response(to_json(content, inf_nan_mode="null"), status, media_type="application/json")


def _json_body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _without_references(schema)}},
        }
    }


def _without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what it refers to in its place."""
    known = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(known[part["$ref"].rpartition("/")[2]])
            return {key: resolved(value) for key, value in part.items()}
        return [resolved(value) for value in part] if isinstance(part, list) else part

    found: dict[str, Any] = resolved(schema)
    return found


def _faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Fault} for status in (401, 403, 422, 504, *statuses)}


def _add_faults(api: FastAPI) -> None:
    told = dict.fromkeys(OURS, 0.0)

    async def answer(_: Request, error: Exception) -> Response:
        kind = next(kind for kind in FAULTS if isinstance(error, kind))
        if kind in OURS and time.monotonic() - told[kind] > LOG_EVERY:
            told[kind] = time.monotonic()
            log.error("%s", error)
        detail = OURS.get(kind) or str(error) or "took too long"
        headers = {"Retry-After": RETRY_AFTER} if FAULTS[kind] in {429, 503, 507} else None
        return JSONResponse({"detail": detail}, FAULTS[kind], headers)

    for kind in FAULTS:
        api.add_exception_handler(kind, answer)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return JSONResponse({"detail": said}, 422)


class Timed:
    """Counts requests and their latencies by path as it is declared, never by id.

    Args:
        api: the application.
        metrics: that count.
    """

    def __init__(self, api: FastAPI, metrics: Metrics) -> None:
        self.api, self._metrics = api, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as the application does."""
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sent(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.api(scope, receive, sent)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._metrics.request(scope["method"], path, status, time.perf_counter() - began)
