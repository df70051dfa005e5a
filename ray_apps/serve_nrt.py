r"""The service that keeps the vectors of whoever is active fresh, on Ray Serve.

::

    RAY_SERVE_ENABLE_HA_PROXY=1 serve run ray_apps.serve_nrt:app lakehouse=URI token_file=FILE

Three deployments. ``api`` takes events into the log and answers with vectors from the store;
``updates`` reads the log and makes states and vectors; ``keeper`` brings batches into the store as
the registry promotes them. They share nothing but log and store, so each may die at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from ray import serve

from ray_apps.nrt_api import build_api
from ray_apps.nrt_parts import Parts
from ray_apps.nrt_reads import Door
from ray_apps.nrt_settings import ServeNrt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

    from lakehouse.event_codec import Event

log = logging.getLogger("ray.serve")

LOOK_EVERY = 0.5  # seconds between looks at the directory
KEEP_EVERY = 2.0  # seconds between looks at the registry
AT_ONCE = 256  # requests that a replica has at a time; more are told to come again
ASKED_AT_ONCE = 64  # questions to the model
STOPPING = 20.0  # seconds for which a replica finishes what it has begun


class Front:
    """The ASGI application of this replica; Ray makes it before the replica is made."""

    app: Any = None
    door: Door | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand a request, or the beginning and end of the server's life, on."""
        if scope["type"] == "lifespan":
            await _live(receive, send, Front.door)
            return
        await Front.app(scope, receive, send)


async def _live(receive: Any, send: Any, door: Door | None) -> None:
    """Open the replica's own door when the server begins, and close it when the server ends."""
    await receive()
    opened = asyncio.ensure_future(door.open()) if door else None
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if door is not None and opened is not None:
        door.close()
        await opened
    await send({"type": "lifespan.shutdown.complete"})


class Updates:
    """Makes states and vectors of the events in the log, and answers what needs the model."""

    def __init__(self, settings: ServeNrt) -> None:
        self._parts = Parts(settings)
        self._followers = self._parts.followers()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._followers.look()
            self._stop.wait(LOOK_EVERY)

    def check_health(self) -> None:
        """Raise if events are not worked off any more; Ray then makes another replica."""
        if not self._thread.is_alive():
            raise RuntimeError("the thread that follows spaces has died")
        self._followers.check()

    def ready(self) -> bool:
        """Whether what answers for live is warm here."""
        return self._followers.warm()

    async def embed(
        self, batch_id: str, events: Sequence[Event], user: dict[str, Any]
    ) -> dict[str, Any]:
        """A vector for somebody without an account."""
        answering = self._followers.inference(batch_id)
        return await asyncio.to_thread(answering.embed, events, user)

    async def nearest(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The nearest users or items."""
        answering = self._followers.inference(asked["of"]["batch_id"])
        return await asyncio.to_thread(answering.nearest, **asked)

    def __del__(self) -> None:
        self._stop.set()
        self._followers.close()


class Keep:
    """Brings batches into the store as the registry promotes them."""

    def __init__(self, settings: ServeNrt) -> None:
        self._keeper = Parts(settings).keeper(log.info)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                self._keeper.step()
            except Exception:
                log.exception("the registry's batches are not brought into the store")
            self._stop.wait(KEEP_EVERY)

    def check_health(self) -> None:
        """Raise if nobody looks at the registry any more."""
        if not self._thread.is_alive():
            raise RuntimeError("the thread that looks at the registry has died")

    def __del__(self) -> None:
        self._stop.set()


class Api:
    """Takes events into the log, and answers with vectors from the store."""

    def __init__(
        self, settings: ServeNrt, updates: DeploymentHandle, keeper: DeploymentHandle
    ) -> None:
        self._updates, self._keeper = updates, keeper
        parts = Parts(settings)
        self._service = parts.service()
        self._warm_until = 0.0
        Front.app = build_api(self._service, parts.tokens(), self, parts.metrics, self._not_ready)
        if settings.read_port is not None:
            Front.door = Door(Front.app, settings.read_host, settings.read_port)

    async def embed(
        self, batch_id: str, events: Sequence[Event], user: dict[str, Any]
    ) -> dict[str, Any]:
        """A vector for somebody without an account, from a process that has the model."""
        found: dict[str, Any] = await self._updates.embed.remote(batch_id, events, user)
        return found

    async def nearest(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The nearest users or items, from a process that has the indexes."""
        found: dict[str, Any] = await self._updates.nearest.remote(asked)
        return found

    async def _not_ready(self) -> str | None:
        if self._service.directory.get().live is None:
            return "no batch is served yet: promote one, or wait until it is loaded"
        if time.monotonic() < self._warm_until:
            return None
        if not await self._updates.ready.remote():
            return "the model of the live batch is being loaded"
        self._warm_until = time.monotonic() + 1.0
        return None


def app(args: dict[str, str]) -> Application:
    """The application, as ``serve run`` builds it.

    Args:
        args: settings by name, as ``ray_apps.nrt_settings`` has them.
    """
    return application(ServeNrt.model_validate(args))


def application(settings: ServeNrt) -> Application:
    """The application of these settings."""
    common = {"graceful_shutdown_timeout_s": STOPPING, "health_check_period_s": 2}
    updates = serve.deployment(
        Updates,
        name="updates",
        num_replicas=settings.updaters,
        max_ongoing_requests=ASKED_AT_ONCE,
        ray_actor_options={"num_cpus": 0.4},
        **common,
    )
    keeper = serve.deployment(Keep, name="keeper", ray_actor_options={"num_cpus": 0.2}, **common)
    api = serve.deployment(
        serve.ingress(Front())(Api),
        name="api",
        num_replicas=settings.replicas,
        max_ongoing_requests=AT_ONCE,
        ray_actor_options={"num_cpus": 0.4},
        **common,
    )
    return api.bind(settings, updates.bind(settings), keeper.bind(settings))
