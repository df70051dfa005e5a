"""What every test may ask for: a lakehouse, the real data, one Spark and one Ray per run, kills."""

import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from lakehouse.batch import Batch
from lakehouse.storage import Lakehouse
from models.baselines.baseline import padded
from models.features import unit
from models.layout import VECTOR_SIZE, build_layout
from schemas.arrow import list_column
from schemas.contract import contract

ROOT = Path(__file__).resolve().parent.parent
FOR_TESTS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    # Half of the time to compile is more than what better code gives back in a minute.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}

BIN = Path(sys.executable).parent
PATIENCE = 300  # seconds for a run on a busy machine
BUCKET = "lakes"
MARK = "TASTEPRINT_TEST_RUN"
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
GENRES = 5
SPARK_SUBMIT = [
    str(BIN / "spark-submit"),
    *("--properties-file", "spark.conf"),
    *("--driver-memory", "1g"),
    *("--driver-java-options", "-XX:TieredStopAtLevel=1"),
    *("--conf", "spark.sql.shuffle.partitions=1"),
]


settings.register_profile("tests", deadline=None, database=None, derandomize=True)
settings.load_profile("tests")


def spark_conf() -> dict[str, str]:
    """The settings that spark-submit gives every job, and what makes tests quick."""
    lines = (ROOT / "spark.conf").read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return dict(pairs) | FOR_TESTS


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The one Spark session of the run."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.appName("tests")
    for name, value in spark_conf().items():
        builder = builder.config(name, value)
    session = builder.config("spark.local.dir", str(tmp_path_factory.mktemp("spark"))).getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def shared_session(spark):
    """Let the ``main`` of a job run in this process, on the one session, and leave it open.

    Call it with the job's name: ``shared_session("ingest")``.
    """

    @contextmanager
    def held(_name, _lakehouse=""):
        try:
            yield spark
        finally:
            spark.catalog.clearCache()

    with pytest.MonkeyPatch.context() as patch:
        yield lambda job: patch.setattr(f"jobs.{job}.spark_session", held)


@pytest.fixture(scope="session")
def s3_store():
    """An empty S3 store on loopback, which the environment of the run leads to from now on."""
    pytest.importorskip("moto", reason="moto is not installed: uv pip install 'tasteprint[dev]'")
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/s3_server.py")],
        stdin=subprocess.PIPE,  # it ends with us, however we end
        stdout=subprocess.PIPE,
        text=True,
    )
    port = server.stdout.readline().strip()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", uuid.uuid4().hex)
        patch.setenv("AWS_REGION", "eu-north-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # nobody shall ask for a role
        from schemas.s3 import S3FileSystem

        store = S3FileSystem()
        where = {"LocationConstraint": "eu-north-1"}
        store.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        yield store
    server.stdin.close()
    server.wait()


@pytest.fixture
def s3_uri(s3_store) -> str:
    """A prefix of its own in the S3 store."""
    return s3_store.unstrip_protocol(f"{BUCKET}/{uuid.uuid4().hex}")


@pytest.fixture
def remote_lake(s3_uri) -> Lakehouse:
    """A lakehouse in the S3 store."""
    return Lakehouse(f"{s3_uri}/lake")


@pytest.fixture(scope="session")
def ray_cluster(s3_store):  # noqa: ARG001 - its environment goes with the workers
    """The one Ray cluster of the run."""
    import ray

    # Read by Ray Train's controller, which this cluster starts: a report waits for its next look.
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.3"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def lake(tmp_path) -> Lakehouse:
    return Lakehouse(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def shared_data():
    """The folder of a real data set by its name; the test is skipped where it is not there."""
    above = Path(os.environ.get("TASTEPRINT_SHARED_DATA", ROOT.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        found = above / name
        if not found.is_dir():
            pytest.skip(f"the data set {name} is not in {above} (set TASTEPRINT_SHARED_DATA)")
        return found

    return folder


class Runs:
    """Starts entry points as an operator does, and kills what it started and nothing else.

    Every process inherits a mark in its environment, by which Spark's and Ray's daemons are found
    though they make sessions of their own or lose their parents.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "runs.log"
        self._mark = f"{MARK}={uuid.uuid4().hex}"

    def start(self, script: str, *argv: str) -> subprocess.Popen:
        launcher = SPARK_SUBMIT if script.startswith("jobs/") else [sys.executable]
        name, value = self._mark.split("=")
        return subprocess.Popen(
            [*launcher, script, *argv],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "PYSPARK_PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
                "SPARK_LOCAL_DIRS": str(self._folder / "spark"),
                name: value,
            },
            stdout=self._log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill_when(self, moment: Callable[[], bool], script: str, *argv: str) -> None:
        """Start, and kill every process of it as soon as the disk shows the moment."""
        job = self.start(script, *argv)
        give_up = time.monotonic() + PATIENCE
        try:
            while not moment():
                assert job.poll() is None, f"it ended before the moment came: {self._said()}"
                assert time.monotonic() < give_up, f"the moment never came: {self._said()}"
                time.sleep(0.002)
        finally:
            self._kill(job)
        assert job.returncode == -signal.SIGKILL
        assert self.alive() == []

    def alive(self) -> list[int]:
        """Processes that this object started, directly or not, and that still run."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                ours = self._mark.encode() in (place / "environ").read_bytes()
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if ours and state != "Z":
                found.append(int(place.name))
        return found

    def _kill(self, job: subprocess.Popen) -> None:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        give_up = time.monotonic() + 30
        while (left := self.alive()) and time.monotonic() < give_up:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    def _said(self) -> str:
        return self._log.read_text()[-4000:]


@pytest.fixture(scope="session")
def new_runs(tmp_path_factory):
    """A function that makes ``Runs``; each kills only what it has started itself."""
    return lambda: Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def two_spaces(lake):
    """A function that fills the lakehouse as ``fill_two_spaces`` says."""
    return partial(fill_two_spaces, lake)


def fill_two_spaces(
    lake: Lakehouse,
    turn: np.ndarray | None = None,
    noise: float = 0.0,
    users: int = 240,
    seed: int = 0,
    also: dict[str, list[dict]] | None = None,
) -> list[Batch]:
    """Fill a lakehouse with a legacy and a live batch of the same listeners.

    Their vectors differ by a turn of the space and by noise; both batches' models place tracks
    where their vectors lie. Listeners play tracks of one genre, before and after both moments.
    """
    rng = np.random.default_rng(seed)
    tastes = rng.normal(size=(GENRES, VECTOR_SIZE)) / VECTOR_SIZE**0.5
    tracks, listeners = (_around(tastes, count, rng) for count in (10 * GENRES, users))
    parents = _played(lake, len(tracks), users, rng, also or {})
    spaces = [(tracks, listeners)]
    turn = np.eye(VECTOR_SIZE) if turn is None else turn
    spaces.append(tuple((side + noise * _scattered(side.shape, rng)) @ turn for side in spaces[0]))
    return [_live_batch(lake, parents, number, *space) for number, space in enumerate(spaces)]


@pytest.fixture
def first_days(two_spaces):
    """A function that makes a live batch as ``two_spaces``, and people who come after it.

    Newcomer n plays tracks of genre n % 5 at random, one every ten minutes, 60 in all; every fourth
    stops after twelve. A genre has two creators. Told, all live in a country by their genre, and
    the newcomers, but for every fourth, have picked a creator before they began.
    """

    def fill(newcomers: int = 160, *, told: bool = False) -> Batch:
        rng = np.random.default_rng(5)
        also: dict[str, list[dict]] = {"items": [], "listens": []}
        for n in range(10 * GENRES):
            genre = {"genres": [f"g{n % GENRES}"], "creator_id": f"c{n % (2 * GENRES)}"}
            also["items"].append({"item_id": f"t{n}", "kind": "track", **genre})
        for user in range(newcomers):
            tracks = user % GENRES + GENRES * rng.integers(0, 10, 60 if user % 4 else 12)
            also["listens"] += [_first_play(user, number, n) for number, n in enumerate(tracks)]
        if told:
            also |= _told(newcomers, 240)
        return two_spaces(also=also)[1]

    return fill


def _first_play(user: int, number: int, track: int) -> dict:
    at = MOMENT + timedelta(minutes=user + 10 * number)
    who = {"event_id": f"n{user}-{number}", "user_id": f"n{user:03d}", "item_kind": "track"}
    return who | {"item_id": f"t{track}", "played_at": at, "ingested_at": at, "ms_played": 60_000}


def _told(newcomers: int, users: int) -> dict[str, list[dict]]:
    came = MOMENT - timedelta(hours=1)
    ids = [*(f"n{n:03d}" for n in range(newcomers)), *(f"u{n}" for n in range(users))]
    return {
        "users": [
            {"user_id": user, "registered_at": came, "country": f"C{int(user[1:]) % GENRES}"}
            for user in ids
        ],
        "onboarding": [
            {
                "user_id": f"n{n:03d}",
                "picked_id": f"c{n % GENRES}",
                "picked_kind": "creator",
                "picked_at": came,
                "completed": True,
            }
            for n in range(newcomers)
            if n % 4
        ],
    }


def _scattered(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=shape) / shape[1] ** 0.5


def _around(tastes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors, the first near the first taste, the next near the next."""
    near = tastes[np.arange(count) % GENRES] + 0.5 * _scattered((count, VECTOR_SIZE), rng)
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def _played(
    lake: Lakehouse,
    tracks: int,
    users: int,
    rng: np.random.Generator,
    also: dict[str, list[dict]],
) -> dict[str, int]:
    """The inputs, with rows of more tables, more plays, or other items."""
    items = [
        {"item_id": f"t{n}", "kind": "track", "genres": [f"g{n % GENRES}"]} for n in range(tracks)
    ]
    plays = [
        {
            "event_id": f"u{user}-{number}",
            "user_id": f"u{user}",
            "item_id": f"t{user % GENRES + GENRES * track}",
            "item_kind": "track",
            "played_at": MOMENT + timedelta(hours=number - 5),
            "ingested_at": MOMENT + timedelta(hours=number - 5),
        }
        for user in range(users)
        for number, track in enumerate(rng.permutation(tracks // GENRES)[:8])
    ]
    tables = {"items": items, **also, "listens": [*plays, *also.get("listens", [])]}
    for table, rows in tables.items():
        lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
    return {table: lake.open(table).version() for table in tables}


def _live_batch(
    lake: Lakehouse, parents: dict[str, int], number: int, tracks: np.ndarray, users: np.ndarray
) -> Batch:
    import torch

    from models.checkpoint import save_model
    from models.user_model import SIZE, UserModel, UserModelConfig

    batch_id = lake.batches.open(MOMENT, parents, "", "0.1.0").batch_id
    torch.manual_seed(number)
    model = UserModel(UserModelConfig(layout=build_layout({})))
    model.codebook.log_plays[0] = math.log(2)  # all tracks are played once: none is more popular
    columns = {
        "track_vectors": {
            "item_id": [f"t{n}" for n in range(len(tracks))],
            "vector": list_column(tracks),
            "support": [1] * len(tracks),
            "source": ["co-occurrence"] * len(tracks),
        },
        "user_embeddings": {
            "user_id": [f"u{n}" for n in range(len(users))],
            "bucket": [0] * len(users),
            "as_of": [MOMENT] * len(users),
            "embedding": list_column(padded(unit(users), SIZE)),
            "source": ["batch"] * len(users),
            "status": ["established"] * len(users),
            "fingerprint": [0] * len(users),
        },
    }
    for table, values in columns.items():
        names = contract(table).column_names
        rows = pa.table({"batch_id": [batch_id] * len(values["source"]), **values}).select(names)
        lake.append(table, rows)
        lake.batches.record(batch_id, tables={table: lake.open(table).version()})
    digest = save_model(model, lake.model_uri(batch_id))
    lake.batches.record(
        batch_id, model_uri=lake.model_uri(batch_id), model_sha256=digest, state="candidate"
    )
    return lake.batches.promote(batch_id)


@pytest.fixture
def named_items() -> Callable[[Lakehouse], Batch]:
    """Makes a live batch of four items, each farther from the first, and one without a vector."""
    told = [
        ("a", "track", "Blue", "Mira", [1.0, 0.0]),
        ("b", "track", "Blue Again", "Mira", [0.9, 0.1]),
        ("c", "episode", "Talk", None, [0.8, 0.3]),
        ("d", "track", "Noise", "Olu", [0.0, 1.0]),
        ("silent", "track", "Silence", "Olu", None),
    ]

    def make(lake: Lakehouse) -> Batch:
        items = [
            {"item_id": item_id, "kind": kind, "title": title, "creator_name": creator}
            for item_id, kind, title, creator, _ in told
        ]
        lake.append("items", pa.Table.from_pylist(items, schema=contract("items").arrow_schema))
        batch = lake.batches.open(MOMENT, {"items": lake.open("items").version()}, "s", "0.1.0")
        rows = []
        for item_id, *_, place in told:
            if place is not None:
                vector = np.r_[place, np.zeros(VECTOR_SIZE - 2)] / np.linalg.norm(place)
                row = {"batch_id": batch.batch_id, "item_id": item_id, "vector": vector.tolist()}
                rows.append(row | {"support": 3, "source": "blend"})
        schema = contract("track_vectors").arrow_schema
        lake.append("track_vectors", pa.Table.from_pylist(rows, schema=schema))
        version = lake.open("track_vectors").version()
        lake.batches.record(batch.batch_id, tables={"track_vectors": version}, state="candidate")
        return lake.batches.promote(batch.batch_id)

    return make
