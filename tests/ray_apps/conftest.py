import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from jobs.cooccurrence import FOLDS
from lakehouse.batches import BatchRegistry
from lakehouse.event_codec import Event, encode
from lakehouse.folder_log import FolderReader, FolderWriter
from lakehouse.online import open_store
from lakehouse.storage import Lakehouse
from lakehouse.suppression import erasure_key
from models.checkpoint import save_codebook, save_model
from models.codebook import fit_codebook
from models.features import unit
from models.fingerprint import fingerprints
from models.layout import VECTOR_SIZE, build_layout
from models.predictor import UserPredictor
from models.user_model import UserModel, UserModelConfig
from ray_apps.nrt_directory import change_directory
from ray_apps.nrt_gate import VectorGate
from ray_apps.nrt_load import SpaceLoader
from ray_apps.nrt_metrics import Metrics
from ray_apps.nrt_space import NrtSpace, micros
from ray_apps.nrt_updates import Serving, SpaceUpdater
from schemas.arrow import list_column, matrix
from schemas.contract import contract
from tests.conftest import fill_two_spaces

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS, BUCKETS = 60, 20, 4
LAYOUT = build_layout({"surface": ["home"], "country": ["DE", "SE"]})
IDS = [f"t{number:02d}" for number in range(ITEMS)]


class World:
    """A batch whose features are built, made by hand: who likes an item goes on to the next one."""

    def __init__(self, folder: str, users: int = USERS, *, by_bucket: bool = False) -> None:
        self.lake = Lakehouse(folder)
        self.registry = BatchRegistry(self.lake)
        self.layout = LAYOUT
        self.by_bucket = by_bucket
        rng = np.random.default_rng(7)
        self.vectors = unit(rng.standard_normal((ITEMS, VECTOR_SIZE)).astype(np.float32))
        self.users = [f"u{number:02d}" for number in range(users)]
        self.features = np.zeros((users, LAYOUT.width), np.float32)
        self.present = np.zeros((users, len(LAYOUT.groups)), np.float32)
        for user in range(users - 1):  # of the last one nothing is known
            for name in ("taste_7d", "taste_180d"):
                self.features[user, LAYOUT[name].slice] = self.vectors[user % ITEMS]
                self.present[user, LAYOUT.names.index(name)] = 1
        self.batch_id = self.registry.open(AS_OF, {}, "s", "v").batch_id
        codebook = fit_codebook(self.vectors, np.full(ITEMS, 3), seed=0)
        save_codebook(codebook, self.lake.model_uri(self.batch_id))
        other = self.registry.open(AS_OF, {}, "s", "v").batch_id  # its rows are nobody's business
        for batch_id in (other, self.batch_id):
            tables = {table: self._append(table, rows) for table, rows in self._tables(batch_id)}
            layout = LAYOUT.model_dump_json()
            self.registry.record(batch_id, tables=tables, layout=layout)

    @property
    def batch(self):
        return self.registry.get(self.batch_id)

    @property
    def argv(self) -> list[str]:
        return ["--lakehouse", self.lake.uri, "--batch-id", self.batch_id]

    def _append(self, table: str, rows: pa.Table) -> int:
        whole = rows.select(contract(table).column_names)
        cut = table == "user_features" and self.by_bucket
        buckets = range(BUCKETS) if cut else ()
        for part in [whole.filter(pc.field("bucket") == bucket) for bucket in buckets] or [whole]:
            self.lake.append(table, part)
        return self.lake.open(table).version()

    def has_a_model(self) -> None:
        """Leave a model where training would, that has learnt something."""
        torch.manual_seed(3)
        model = UserModel(UserModelConfig(layout=self.layout))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
        uri = self.lake.model_uri(self.batch_id)
        digest = save_model(model, uri)
        self.registry.record(self.batch_id, model_uri=uri, model_sha256=digest)

    def write_features(self, as_of: datetime = AS_OF) -> int:
        """Put the features in place of those that the table has; returns the version."""
        own = self.lake.open("user_features")
        own.delete(f"batch_id = '{self.batch_id}'")
        return self._append(
            "user_features", dict(self._tables(self.batch_id, as_of))["user_features"]
        )

    def is_refreshed(self, users: list[str], features: np.ndarray, present: np.ndarray) -> None:
        """Begin a refresh of the batch, and give it these features."""
        self.registry.begin_refresh(self.batch_id, AS_OF + timedelta(days=1), {})
        self.users, self.features, self.present = users, features, present
        version = self.write_features(AS_OF + timedelta(days=1))
        self.registry.record(self.batch_id, tables={"user_features": version})

    def embeddings(self) -> dict[str, np.ndarray]:
        """What the model makes of the users."""
        predictor = UserPredictor(self.batch.model_uri, self.layout)
        found = predictor.embed(self.features, self.present)
        return dict(zip(self.users, found, strict=True))

    def _tables(self, batch_id: str, as_of: datetime = AS_OF):
        def repeated(value, count: int) -> list:
            return [value] * count

        items = {
            "batch_id": repeated(batch_id, ITEMS),
            "item_id": IDS,
            "vector": list_column(self.vectors),
            "support": repeated(3, ITEMS),
            "source": repeated("blend", ITEMS),
        }
        yield "track_vectors", pa.table(items)
        folds = [pa.table({**items, "fold": repeated(fold, ITEMS)}) for fold in range(FOLDS)]
        yield "training_vectors", pa.concat_tables(folds)
        count = len(self.users)
        users = {
            "batch_id": repeated(batch_id, count),
            "user_id": self.users,
            "bucket": pa.array([int(user[1:]) % BUCKETS for user in self.users], pa.int32()),
            "as_of": repeated(as_of, count),
            "features": list_column(self.features),
            "present": list_column(self.present),
        }
        since = {"played_between": repeated([], count), "decayed_plays": repeated([], count)}
        sums = {"fingerprint": fingerprints(self.features, self.present)}
        yield "user_features", pa.table({**users, **since, **sums})
        if as_of != AS_OF:
            return
        example = {
            "as_of": repeated(AS_OF - timedelta(days=9), count),
            # A tenth, and not always those of the same item.
            "validation": [(number + number // ITEMS) % 10 == 0 for number in range(count)],
            "fold": [number % FOLDS for number in range(count)],
            "weight": repeated(0.5, count),
            "targets": [[IDS[(number + 1) % ITEMS]] for number in range(count)],
        }
        early = pa.table({**users, **example})
        late = pa.table({**users, **example, "as_of": repeated(AS_OF - timedelta(days=8), count)})
        yield "training_examples", pa.concat_tables([early, late])


@pytest.fixture(scope="module")
def new_world(tmp_path_factory):
    """A function that makes a batch of its own."""
    return lambda **size: World(str(tmp_path_factory.mktemp("world") / "lake"), **size)


@pytest.fixture(scope="module")
def world(new_world) -> World:
    return new_world()


@pytest.fixture(scope="module")
def remote_world(s3_store) -> World:
    """The same batch, in the S3 store."""
    return World(s3_store.unstrip_protocol(f"lakes/{uuid.uuid4().hex}/lake"))


class Nrt:
    """A lakehouse with a legacy and a live batch, and an online store and a log beside it."""

    def __init__(self, lake: Lakehouse, batches, folder) -> None:
        self.lake, self.batches, self.folder = lake, batches, folder
        self.log = folder / "events"
        self.store = open_store(str(folder / "online"))
        self.metrics = Metrics(str(folder / "metrics"))
        self.key = erasure_key(lake)

    @property
    def live(self):
        return self.lake.batches.get("live")

    def reader(self, space: NrtSpace) -> FolderReader:
        return FolderReader(self.log, space.name, self.store.position(space.name).get)

    def updater(self, space: NrtSpace, **options) -> SpaceUpdater:
        serving = Serving(gate=VectorGate(options.pop("jump", 2.0)), key=self.key, **options)
        return SpaceUpdater(space, self.store, self.reader(space), serving, clock=NOW)

    def load(self, batch=None) -> NrtSpace:
        space = NrtSpace(self.lake, batch or self.live)
        SpaceLoader(self.lake, space, self.key).load(self.store)
        return space

    def serve(self, batch=None) -> NrtSpace:
        """Load a batch and let it answer for live."""
        space = self.load(batch)
        change_directory(
            self.store,
            lambda now: now.model_copy(
                update={"live": space.name, "stages": {**now.stages, space.name: "serving"}}
            ),
        )
        return space

    def send(self, *events: Event) -> None:
        """Put events into the log, durably."""

        async def append() -> None:
            writer = FolderWriter(self.log)
            await writer.append([encode(event) for event in events])
            writer.close()

        asyncio.run(append())

    def row(self, user_id: str, space: NrtSpace) -> np.ndarray:
        """The feature row of what the store knows of a user, at the moment of the test."""
        (state,) = self.store.states(space.name, [user_id])
        return space.states.rows([space.bytes.decode(state.value)], np.array([NOW()])).features


def NOW() -> int:  # noqa: N802 - a clock that stands
    return micros(AS_OF) + 86_400_000_000


def new_nrt(folder) -> Nrt:
    """Make it in a folder."""
    lake = Lakehouse(str(folder / "lake"))
    batches = fill_two_spaces(
        lake,
        users=40,
        noise=0.2,
        also={
            "users": [{"user_id": "u0", "country": "SE", "registered_at": AS_OF}],
            "onboarding": [
                {
                    "user_id": "picker",
                    "picked_id": "t3",
                    "picked_kind": "item",
                    "picked_at": AS_OF - timedelta(days=1),
                    "completed": True,
                }
            ],
        },
    )
    for batch in batches:
        rows = lake.read("track_vectors", batch)
        found = fit_codebook(matrix(rows["vector"]), rows["support"].to_numpy(), seed=0)
        save_codebook(found, lake.model_uri(batch.batch_id))
        lake.batches.record(batch.batch_id, layout=build_layout({}).model_dump_json())
    return Nrt(lake, batches, folder)


@pytest.fixture
def nrt(tmp_path):
    world = new_nrt(tmp_path)
    yield world
    world.store.close()


def played(user_id: str, number: int, item: int = 0, minutes: float = 60.0, **more) -> Event:
    """A play so many minutes after the batch's moment."""
    at = (AS_OF + timedelta(minutes=minutes + number)).isoformat()
    row = {
        "event_id": f"{user_id}-now-{number}",
        "user_id": user_id,
        "item_id": f"t{item}",
        "item_kind": "track",
        "played_at": at,
        "ingested_at": at,
    }
    return Event("listens", row | more)


@pytest.fixture
def play():
    """A function that makes a play of after the batch's moment."""
    return played
