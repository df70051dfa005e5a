from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

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
