"""The read that ranking waits for, in as few steps as there can be, and a door of its own.

Reading one vector takes 5 microseconds from the store and 5 to write as JSON; a framework around it
takes a hundred. So the plain case is answered here, and whatever is not plain (no token, nobody of
that id, a batch that is not served) goes to the application, which has the one implementation of
faults.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from pydantic_core import to_json

from ray_apps.nrt_service import as_text
from schemas.errors import TasteprintError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray_apps.nrt_metrics import Metrics
    from ray_apps.nrt_service import NrtService, Read
    from ray_apps.tokens import Tokens

BEFORE, AFTER = "/v1/users/", "/embedding"
PATH = "/v1/users/{user_id}/embedding"
QUERIES = {b"": "live", b"batch=live": "live", b"batch=legacy": "legacy"}
SCOPE = "vectors:read"
BINARY, JSON = b"application/octet-stream", b"application/json"
BACKLOG = 2_048  # connections that wait to be taken


class FastReads:
    """An application that answers plain reads of one vector itself.

    Args:
        rest: the application that answers all else.
        service: that has the vectors.
        tokens: who may ask.
        metrics: what is counted.
    """

    def __init__(self, rest: Any, service: NrtService, tokens: Tokens, metrics: Metrics) -> None:
        self._rest, self._service, self._tokens = rest, service, tokens
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or let the application do so."""
        if scope["type"] == "http" and scope["method"] == "GET":
            began = time.perf_counter()
            path: str = scope["path"]
            if path.startswith(BEFORE) and path.endswith(AFTER):
                answer = self._answer(path[len(BEFORE) : -len(AFTER)], scope)
                if answer is not None:
                    headers, body = answer
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await send({"type": "http.response.body", "body": body})
                    self._metrics.request("GET", PATH, 200, time.perf_counter() - began)
                    return
        await self._rest(scope, receive, send)

    def _answer(self, user_id: str, scope: Any) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
        """Headers and body; None for whatever is not plain."""
        batch = QUERIES.get(scope["query_string"])
        if batch is None or not user_id or "/" in user_id:
            return None
        token = accept = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                token = value.decode("latin-1")
            elif name == b"accept":
                accept = value
        try:
            if SCOPE not in (self._tokens.scopes_of(token) or ()):
                return None
            found = self._service.read(user_id, batch)
        except TasteprintError:
            return None
        if found is None:
            return None
        return as_binary(found) if accept == BINARY else as_json(found)


def as_json(found: Read) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A vector and what is known of it, as JSON."""
    body = to_json(found.answer())
    return _headers(JSON, body), body


def as_binary(found: Read) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A vector as little-endian float32, and what is known of it in headers."""
    body = found.vector.values.astype("<f4", copy=False).tobytes()
    told = (found.batch_id, found.status, found.vector.source, as_text(found.vector.as_of))
    headers = [(name, said.encode()) for name, said in zip(TOLD, told, strict=True)]
    return [*_headers(BINARY, body), *headers], body


TOLD = (
    b"x-tasteprint-batch-id",
    b"x-tasteprint-status",
    b"x-tasteprint-source",
    b"x-tasteprint-as-of",
)


def _headers(kind: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"content-length", b"%d" % len(body))]


class Door(uvicorn.Server):
    """A listener of this process beside the front, with the same application.

    Every replica on a machine listens at the same port, and the kernel gives each its share of the
    connections. Nothing stands between: no TLS, no limit but the application's own.

    Args:
        app: the application.
        host: address.
        port: port.
    """

    def __init__(self, app: Any, host: str, port: int) -> None:
        self._socket = _listening(host, port)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http="httptools",
            proxy_headers=False,  # nobody asks where a request comes from
            server_header=False,
        )
        super().__init__(config)

    async def open(self) -> None:
        """Answer until ``close``."""
        await self.serve(sockets=[self._socket])

    def close(self) -> None:
        """Finish what has begun, and take no more."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which is not ours."""
        yield


def _listening(host: str, port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        found.setsockopt(socket.SOL_SOCKET, option, 1)
    found.bind((host, port))
    found.listen(BACKLOG)
    found.setblocking(False)
    return found
