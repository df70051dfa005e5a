import asyncio
import threading
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web

from jobs import build_features, build_track_vectors
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.layout import FeatureLayout
from models.user_model import UserModel, UserModelConfig
from ray_apps import batch_embed
from schemas.contract import contract

MAINS = {
    "build_track_vectors.py": build_track_vectors.main,
    "build_features.py": build_features.main,
    "batch_embed.py": batch_embed.main,
}
SERVED_AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS, PLAYS = 80, 96, 12
OWN = ITEMS // 4  # items of a creator


def _inputs() -> dict[str, list[dict]]:
    """Users who play one creator more than others, before and after the batch's moment."""
    rng = np.random.default_rng(11)
    listens = []
    for user in range(USERS):
        at = SERVED_AS_OF - timedelta(days=int(rng.integers(20, 300)))
        for number in range(PLAYS):
            item = OWN * (user % 4) + int(rng.integers(0, OWN))
            at += timedelta(minutes=int(rng.choice([4, 40_000])))
            event = {"event_id": f"e{user}-{number}", "user_id": f"u{user:02d}"}
            what = {"item_id": f"t{item:02d}", "item_kind": "track", "ms_played": 60_000}
            listens.append(event | what | {"played_at": at, "ingested_at": at})
    items = [
        {"item_id": f"t{item:02d}", "kind": "track", "creator_id": f"c{item // OWN}"}
        for item in range(ITEMS)
    ]
    return {"items": items, "users": [], "onboarding": [], "listens": listens}


@pytest.fixture(scope="session")
def in_process(shared_session, request):
    """Runs a step of the command line in this process, on the one Spark session and Ray."""
    request.getfixturevalue("ray_cluster")
    shared_session("build_track_vectors")
    shared_session("build_features")

    def execute(step, *_where):
        script = next(part for part in step.command if part.endswith(".py"))
        arguments = list(step.command)[list(step.command).index(script) + 1 :]
        MAINS[Path(script).name](arguments)

    return execute


@pytest.fixture(scope="session")
def served(tmp_path_factory, request):
    """A lakehouse with one live batch, made by the real jobs; its model was never trained."""
    request.getfixturevalue("in_process")
    lake = Lakehouse(str(tmp_path_factory.mktemp("served") / "lake"))
    for table, rows in _inputs().items():
        lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
    pins = {table: lake.open(table).version() for table in _inputs()}
    batch = lake.batches.open(SERVED_AS_OF, pins, "settings", "0.1.0")
    where = ["--lakehouse", lake.uri, "--batch-id", batch.batch_id]
    build_track_vectors.main(where)
    build_features.main([*where, "--buckets", "4"])
    layout = FeatureLayout.model_validate_json(lake.batches.get(batch.batch_id).layout)
    uri = lake.model_uri(batch.batch_id)
    digest = save_model(UserModel(UserModelConfig(layout=layout)), uri)
    lake.batches.record(batch.batch_id, model_uri=uri, model_sha256=digest)
    batch_embed.main(where)
    lake.batches.record(batch.batch_id, state="candidate")
    lake.batches.promote(batch.batch_id)
    return lake


@pytest.fixture
def batch_of():
    """Opens a batch in a lakehouse."""

    def opened(lake, state: str = "building"):
        registry = BatchRegistry(lake)
        batch = registry.open(datetime(2024, 3, 1, tzinfo=UTC), {"listens": 0}, "s", "0.1.0")
        if state == "live":
            registry.record(batch.batch_id, state="candidate")
            return registry.promote(batch.batch_id)
        return registry.record(batch.batch_id, state=state)

    return opened


class StandIn:
    """A server that speaks as the near-real-time service does, on a real socket.

    It says that all is well, and first what a test has laid ready for a path. A user's vector turns
    by a hundredth of a circle with each play, and is as of the last one.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict | None, str]] = []
        self.ready: defaultdict[str, list[tuple[int, dict, dict]]] = defaultdict(list)
        self.plays: Counter[str] = Counter()
        self.as_of: dict[str, str] = {}
        self.url = ""

    def bodies(self, path: str) -> list[dict]:
        """What was posted to a path, in order."""
        return [body for asked, body, _ in self.asked if asked == path]

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.path, body, request.headers.get("Authorization", "")))
        if self.ready[request.path]:
            status, headers, said = self.ready[request.path].pop(0)
            if not status:
                request.transport.abort()  # as a process that dies does
            return web.json_response(said, status=status or 200, headers=headers)
        return self._well(request.path, body)

    def _well(self, path: str, body: dict | None) -> web.Response:
        if path == "/v1/events":
            for row in body.get("listens", []):
                self.plays[row["user_id"]] += 1
                self.as_of[row["user_id"]] = row["played_at"]
            said = {"accepted": len(body.get("listens", []))}
            return web.json_response(said, status=202)
        if path == "/v1/embeddings:batchGet":
            found = [self._embedding(user_id) for user_id in body["user_ids"]]
            return web.json_response({"embeddings": found})
        if path.endswith("/items"):
            near = [{"id": item_id, "cosine": 0.5} for item_id in "abd"]
            return web.json_response({"batch_id": "b", "as_of": "", "nearest": near})
        return web.json_response({"status": "ready"})

    def _embedding(self, user_id: str) -> dict:
        angle = 2 * np.pi * self.plays[user_id] / 100
        at = self.as_of.get(user_id, "2000-01-01T00:00:00Z")
        told = {"user_id": user_id, "batch_id": "b", "status": "fresh", "as_of": at}
        return told | {"embedding": [float(np.cos(angle)), float(np.sin(angle))]}


@pytest.fixture
def stand_in():
    """A running ``StandIn``."""
    server, loop = StandIn(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def plays():
    """Makes a table of listens from users and minutes: ``plays(("ann", 0), ("bob", 5))``."""

    def made(*of: tuple[str, float], begin: datetime = SERVED_AS_OF) -> pa.Table:
        rows = [
            {
                "event_id": f"e{number}",
                "user_id": user_id,
                "item_id": "a",
                "item_kind": "track",
                "played_at": begin + timedelta(minutes=minute),
                "ingested_at": begin + timedelta(minutes=minute),
            }
            for number, (user_id, minute) in enumerate(of)
        ]
        return pa.Table.from_pylist(rows, schema=contract("listens").arrow_schema)

    return made
