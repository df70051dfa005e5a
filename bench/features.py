"""User features beside programs that are written for one machine, over the same Parquet files.

::

    python bench/features.py --folder DIR
    python bench/features.py --folder DIR --sizes 1,3,10,30

Each program reads plays, sums item vectors at three half-lives, counts amounts and histograms of
hour, weekday and device, and writes one row per user as Parquet; a line of JSON for each run, and
one for how far their numbers lie apart. With ``--sizes`` ours alone runs, over so many million
plays, and says what it took. Spark's start is apart: it has run a very small job before. Last come
lines on the tasks, from Spark's event log. ``bench/feature_peers.py`` has the other programs.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from feature_peers import AS_OF, CORES, DEVICES, MOMENT, by_hand, duckdb_reader, duckdb_sql
from session import peaks, said, spark_here, stages_of

from jobs.bucket import BucketFeatures
from jobs.build_features import bucket_files
from jobs.cooccurrence import WHOLE
from jobs.played import Played
from jobs.shipping import saved
from lakehouse.storage import Lakehouse
from models.codebook import fit_codebook
from models.events import DAY
from models.layout import AMOUNTS, HALF_LIVES, VECTOR_SIZE, build_layout
from schemas.arrow import matrix
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyspark.sql import SparkSession

    from jobs.shipping import Shipped

YEARS = 2  # of history
ROWS_OF_A_FILE = 1_000_000


class Features(Settings):
    """Measure user features on Spark beside programs on one machine."""

    folder: Path
    """An empty folder to work in, or one of an earlier call, whose plays are used again."""
    events: int = 10_000_000
    """Plays."""
    users: int = 200_000
    """Users; plays of a user are drawn from a log-normal distribution."""
    items: int = 200_000
    """Items; how often each is played falls like a Zipf law."""
    repeats: int = 3
    """Runs of each program, one after another."""
    buckets: int = 16
    """Buckets of users of our job."""
    sizes: str = ""
    """Millions of plays, such as 1,3,10,30: how ours grows; users grow alike."""
    memory: str = "3g"
    """Heap of Spark's one process."""
    heaviest: int = 0
    """Plays of one user, to see what a heavy listener does to the slowest task."""
    hottest: float = 0.0
    """Share of plays, and so of sessions, most of which are one play, that are of one item."""


def make_plays(folder: Path, events: int, users: int, args: Features) -> None:
    """Write plays in order of time, as deliveries come, a million to a file; and item vectors."""
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 1, users)
    whose = rng.choice(users, events, p=share / share.sum()).astype(np.int32)
    if args.heaviest:
        whose[rng.choice(events, args.heaviest, replace=False)] = 0
    item = (args.items ** rng.random(events)).astype(np.int32) - 1  # log-uniform, as a Zipf law is
    item[rng.random(events) < args.hottest] = 0
    whole = YEARS * 365 * DAY
    at = np.sort(MOMENT - 1 - (rng.random(events) * whole).astype(np.int64))
    played_at = pa.array(at).cast(pa.timestamp("us", tz="UTC"))
    table = pa.table(
        {
            "event_id": _ids(rng, events),
            "user_id": whose,
            "item_id": np.random.default_rng(1).permutation(args.items).astype(np.int32)[item],
            "played_at": played_at,
            "ingested_at": played_at,
            "ms_played": rng.integers(0, 240_000, events).astype(np.int32),
            "device": pa.array(DEVICES).take(pa.array(rng.integers(0, len(DEVICES), events))),
        }
    )
    place = folder / "plays"
    place.mkdir(parents=True)
    for number, start in enumerate(range(0, events, ROWS_OF_A_FILE)):
        pq.write_table(table.slice(start, ROWS_OF_A_FILE), place / f"part-{number:03d}.parquet")
    vectors = rng.standard_normal((args.items, VECTOR_SIZE)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _ids(rng: np.random.Generator, count: int) -> pa.Array:
    """Random ids of plays, 16 letters each."""
    letters = rng.bytes(8 * count).hex().encode()
    bounds = np.arange(0, 16 * count + 1, 16, dtype=np.int32)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def ours(spark: SparkSession, items: Shipped, buckets: int, folder: Path, out: Path) -> None:
    """The job from its plays on: blocks, one shuffle, the features of a bucket, its files."""
    lake = Lakehouse(str(out))
    compute = BucketFeatures(
        batch_id="bench",
        layout=LAYOUT,
        as_of=AS_OF,
        horizon_days=7.0,
        session_gap=30.0,
        cuts=0,
        sequence_length=0,
        shipped=items,
    )
    played = Played(lake.uri, AS_OF, buckets, items.ids, learned=False)
    files = {str(file): file.stat().st_size for file in (folder / "plays").glob("*.parquet")}
    bucket_files(played.blocks(spark, files), compute, lake, buckets)


LAYOUT = build_layout({"device": DEVICES})
COMPARED = (*HALF_LIVES, "amounts", "hour", "weekday", "device")


def our_rows(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Users in order, and of our rows the columns that the others have."""
    table = ds.dataset(out / "tables" / "user_features", partitioning=None).to_table(
        columns=["user_id", "features"]
    )
    features = matrix(table["features"])
    places = [np.arange(LAYOUT.width)[LAYOUT[name].slice] for name in COMPARED]
    evenness = LAYOUT["amounts"].start + list(AMOUNTS).index("evenness over creators")
    columns = np.concatenate(places)
    device = LAYOUT["device"]
    columns = columns[(columns != evenness) & (columns != device.start + device.width - 1)]
    user = table["user_id"].to_numpy().astype(np.int64)
    order = np.argsort(user)
    return user[order], features[order][:, columns]


def their_rows(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same of a program's file."""
    table = pq.read_table(out)
    return table["user_id"].to_numpy(), matrix(table["features"])


def apart(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> float:
    """The largest difference of two numbers; infinite where they are not of the same users."""
    if not np.array_equal(ours[0], theirs[0]):
        return float("inf")
    return float(np.abs(ours[1] - theirs[1]).max())


def seconds(run: Callable[[Path], None], out: Path) -> float:
    """How long a program takes; what it wrote before is gone."""
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    begun = time.perf_counter()
    run(out)
    return round(time.perf_counter() - begun, 2)


@contextmanager
def spark_on_this_machine(args: Features) -> Iterator[SparkSession]:
    """One process on two cores, as the runner starts it, that has run a very small job."""
    settings = {"spark.driver.memory": args.memory}
    spark = spark_here("features", CORES, args.folder, **settings)
    try:
        smallest = args.model_copy(update={"items": 1_000, "heaviest": 0})
        folder = prepared(smallest, 10_000, 100)
        ours(spark, our_items(folder), CORES, folder, folder / "out of ours")
        yield spark
    finally:
        spark.stop()


def prepared(args: Features, events: int, users: int) -> Path:
    """Where plays of that size are."""
    folder = args.folder / f"{events}-{users}-{args.items}-{args.heaviest}-{args.hottest}"
    if not (folder / "vectors.npy").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make_plays(folder, events, users, args)
    return folder


def our_items(folder: Path) -> Shipped:
    """The vectors as the job ships them; no item has a creator here."""
    shutil.rmtree(folder / "items", ignore_errors=True)
    vectors = np.load(folder / "vectors.npy")
    nobody, unknown = np.full(len(vectors), -1), np.full(len(vectors), np.nan)
    ids = pa.array(np.arange(len(vectors)).astype(str))
    codebook = fit_codebook(vectors, np.ones(len(vectors)), seed=0)
    return saved(folder / "items", {WHOLE: vectors}, codebook, nobody, unknown, ids)


def compare(args: Features, spark: SparkSession) -> None:
    """Run every program so many times, in turn; then say how far they lie apart."""
    folder = prepared(args, args.events, args.users)
    run_ours = partial(ours, spark, our_items(folder), args.buckets)
    programs = {
        "ours": run_ours,
        "by hand": by_hand,
        "DuckDB reads": duckdb_reader,
        "DuckDB SQL and SciPy": duckdb_sql,
    }
    outs = {name: folder / f"out of {name}" for name in programs}
    for repeat in range(args.repeats):
        for name, program in programs.items():
            took = seconds(partial(program, folder), outs[name])
            said(program=name, repeat=repeat, events=args.events, seconds=took)
    rows = our_rows(outs.pop("ours"))
    for name, out in outs.items():
        said(program=name, users=len(rows[0]), apart=apart(rows, their_rows(out)))


def grow(args: Features, spark: SparkSession) -> None:
    """Run ours over more and more plays of more and more users."""
    for size in args.sizes.split(","):
        events = int(float(size) * 1_000_000)
        folder = prepared(args, events, max(events * args.users // args.events, 1))
        run = partial(ours, spark, our_items(folder), args.buckets, folder)
        took = [seconds(run, folder / "out of ours") for _ in range(args.repeats)]
        said(program="ours", events=events, seconds=took, heap=args.memory, **peaks())


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Make the plays, run the programs, print JSON lines."""
    args = Features.parse(argv)
    torch.set_num_threads(CORES)
    with spark_on_this_machine(args) as spark:
        log = args.folder / "log" / spark.sparkContext.applicationId
        (grow if args.sizes else compare)(args, spark)
    for line in stages_of(log, without=1):  # the first was the very small job
        said(**line)


if __name__ == "__main__":
    main()
