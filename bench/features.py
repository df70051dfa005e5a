"""User features beside programs that are written for one machine, over the same Parquet files.

::

    python bench/features.py --folder DIR
    python bench/features.py --folder DIR --sizes 1,3,10,30

Each program reads plays, sums item vectors at three half-lives, counts amounts and histograms of
hour, weekday and device, and writes one row per user as Parquet; a line of JSON for each run, and
one for how far their numbers lie apart. With ``--sizes`` ours alone runs, over so many million
plays, and says what it took. Spark's start is apart: it has run a very small job before.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy import sparse

from jobs.blocks import in_blocks
from jobs.bucket import PLAYS, BucketFeatures
from jobs.build_features import bucket_files
from jobs.cooccurrence import WHOLE
from jobs.shipping import saved
from lakehouse.storage import Lakehouse
from models.events import DAY, HOUR, play_weight
from models.layout import AMOUNTS, HALF_LIVES, VECTOR_SIZE, build_layout
from schemas.arrow import list_column, matrix
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jobs.shipping import Shipped

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
MOMENT = round(AS_OF.timestamp()) * 1_000_000
DEVICES = ("car", "desktop", "phone", "speaker")
YEARS = 2  # of history
ROWS_OF_A_FILE = 1_000_000
COLUMNS = ["user_id", "item", "played_at", "ms_played", "device"]
CORES = 2


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
    """Plays of one more user, to see what a heavy listener does to the slowest task."""


def make_plays(folder: Path, events: int, users: int, items: int, heaviest: int) -> None:
    """Write plays in order of time, as deliveries come, a million to a file; and item vectors."""
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 1, users)
    whose = rng.choice(users, events, p=share / share.sum()).astype(np.int32)
    if heaviest:
        whose[rng.choice(events, heaviest, replace=False)] = 0
    item = (items ** rng.random(events)).astype(np.int32) - 1  # log-uniform, as a Zipf law is
    whole = YEARS * 365 * DAY
    at = np.sort(MOMENT - 1 - (rng.random(events) * whole).astype(np.int64))
    table = pa.table(
        {
            "user_id": whose,
            "item": np.random.default_rng(1).permutation(items).astype(np.int32)[item],
            "played_at": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
            "ms_played": rng.integers(0, 240_000, events).astype(np.int32),
            "device": pa.array(DEVICES).take(pa.array(rng.integers(0, len(DEVICES), events))),
        }
    )
    place = folder / "plays"
    place.mkdir(parents=True)
    for number, start in enumerate(range(0, events, ROWS_OF_A_FILE)):
        pq.write_table(table.slice(start, ROWS_OF_A_FILE), place / f"part-{number:03d}.parquet")
    vectors = rng.standard_normal((items, VECTOR_SIZE)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@dataclass(frozen=True)
class Read:
    """What a reader hands over: columns of all plays, (E,) each."""

    user: np.ndarray
    item: np.ndarray
    at: np.ndarray
    ms: np.ndarray
    device: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> Read:
        """Columns of a table; the codes of devices are those of DEVICES."""
        device = table["device"].combine_chunks()
        if not pa.types.is_dictionary(device.type):
            device = device.dictionary_encode()
        known = pc.index_in(device.dictionary, pa.array(DEVICES)).to_numpy()
        return cls(
            table["user_id"].to_numpy(),
            table["item"].to_numpy(),
            table["played_at"].cast(pa.int64()).to_numpy(),
            table["ms_played"].to_numpy(),
            known[device.indices.to_numpy()],
        )


def by_hand(folder: Path, out: Path) -> None:
    """Pyarrow reads, a counting sort brings users together, torch sums."""
    form = ds.ParquetFileFormat(dictionary_columns=["device"])
    plays = ds.dataset(folder / "plays", format=form).to_table(columns=COLUMNS)
    kernel(Read.of(plays.unify_dictionaries()), folder, out)


def duckdb_reader(folder: Path, out: Path) -> None:
    """The same with DuckDB as the reader."""
    with connected() as connection:
        query = f"SELECT {', '.join(COLUMNS)} FROM '{folder}/plays/*.parquet'"  # noqa: S608
        kernel(Read.of(connection.sql(query).to_arrow_table()), folder, out)


def kernel(read: Read, folder: Path, out: Path) -> None:
    """All columns from NumPy arrays, users side by side."""
    users = int(read.user.max()) + 1
    places = np.arange(len(read.user), dtype=np.int32)
    shape = (users, len(places))
    order = sparse.coo_matrix((places, (read.user, places)), shape=shape).tocsr().indices
    user, item, at = read.user[order], read.item[order], read.at[order]
    weight = play_weight(read.ms[order].astype(np.float64))
    begins = np.searchsorted(user, np.arange(users))
    last, first = np.zeros(users, np.int64), np.full(users, MOMENT)
    np.maximum.at(last, user, at)
    np.minimum.at(first, user, at)
    behind = (last[user] - at) / DAY
    vectors = torch.from_numpy(np.load(folder / "vectors.npy"))
    bags, index = torch.from_numpy(begins), torch.from_numpy(item.astype(np.int64))
    tastes, plays = [], []
    for days in HALF_LIVES.values():
        decayed = weight * np.exp2(-behind / days)
        own = torch.from_numpy(decayed.astype(np.float32))
        total = torch.nn.functional.embedding_bag(
            index, vectors, bags, mode="sum", per_sample_weights=own
        )
        tastes.append(total.numpy())
        total_plays = np.bincount(user, decayed, users)
        plays.append(total_plays * np.exp2(-(MOMENT - last) / DAY / days))
    cell = np.sort(user.astype(np.int64) * len(vectors) + item)
    once = cell[np.diff(cell, prepend=-1) > 0] // len(vectors)
    distinct = np.bincount(once, minlength=users)
    columns = (at // HOUR % 24, (at // DAY + 3) % 7, read.device[order])
    histograms = [
        np.bincount(user * width + column, decayed, users * width).reshape(users, width)
        for column, width in zip(columns, WIDTHS, strict=True)
    ]
    count = np.bincount(user, minlength=users)
    write(out, tastes, amounts(plays, distinct, count, last, first), histograms)


def duckdb_sql(folder: Path, out: Path) -> None:
    """DuckDB's SQL for weights and histograms, a sparse matrix product for the sums."""
    vectors = np.load(folder / "vectors.npy")
    with connected() as connection:
        connection.execute(WEIGHTED.format(folder=folder))
        per_user = connection.execute(PER_USER).fetchnumpy()
        names = ["user_id", "item", *(f"w{position}" for position in range(len(HALF_LIVES)))]
        plays = connection.execute(f"SELECT {', '.join(names)} FROM weighted").fetchnumpy()  # noqa: S608
    numbers = {name: np.asarray(column) for name, column in per_user.items()}
    users = int(numbers["user_id"].max()) + 1
    place = (plays["user_id"], plays["item"])
    tastes = [
        sparse.csr_matrix((plays[name], place), shape=(users, len(vectors))) @ vectors
        for name in names[2:]
    ]
    rows = {name: np.zeros(users, column.dtype) for name, column in numbers.items()}
    for name, column in numbers.items():
        rows[name][numbers["user_id"]] = column
    moved = [
        rows[f"plays{position}"] * np.exp2(-(MOMENT - rows["last"]) / DAY / days)
        for position, days in enumerate(HALF_LIVES.values())
    ]
    histograms = [
        np.stack([rows[f"{name}{column}"] for column in range(width)], axis=1)
        for name, width in zip(HISTOGRAMS, WIDTHS, strict=True)
    ]
    counted = amounts(moved, rows["items"], rows["plays"], rows["last"], rows["first"])
    write(out, tastes, counted, histograms)


HISTOGRAMS, WIDTHS = ("hour", "weekday", "device"), (24, 7, len(DEVICES))
WEIGHTED = f"""
CREATE TEMP TABLE weighted AS
WITH read AS (
  SELECT user_id, item, epoch_us(played_at) AS t, list_position({
    list(DEVICES)
}, device) - 1 AS device,
    least(greatest(ms_played / 30000.0, 0.1), 1) AS weight
  FROM '{{folder}}/plays/*.parquet'),
last AS (SELECT user_id, max(t) AS last FROM read GROUP BY ALL)
SELECT user_id, item, t, t // {HOUR} % 24 AS hour, (t // {DAY} + 3) % 7 AS weekday, device,
  {
    ", ".join(
        f"(weight * pow(2, (t - last) / {DAY}.0 / {days}))::FLOAT AS w{position}"
        for position, days in enumerate(HALF_LIVES.values())
    )
}
FROM read JOIN last USING (user_id)"""  # noqa: S608
PER_USER = f"""
SELECT user_id, count(*) AS plays, count(DISTINCT item) AS items, min(t) AS first, max(t) AS last,
  {", ".join(f"sum(w{position}) AS plays{position}" for position in range(len(HALF_LIVES)))},
  {
    ", ".join(
        f"coalesce(sum(w{len(HALF_LIVES) - 1}) FILTER ({name} = {column}), 0) AS {name}{column}"
        for name, width in zip(HISTOGRAMS, WIDTHS, strict=True)
        for column in range(width)
    )
}
FROM weighted GROUP BY user_id"""  # noqa: S608


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB on as many cores as the others."""
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {CORES}")
        connection.execute("SET preserve_insertion_order = false")
        yield connection


def amounts(
    plays: list[np.ndarray],
    distinct: np.ndarray,
    count: np.ndarray,
    last: np.ndarray,
    first: np.ndarray,
) -> np.ndarray:
    """How much, how varied and how recent, (U, 7)."""
    columns = [*map(np.log1p, plays), np.log1p(distinct), distinct / np.maximum(count, 1)]
    columns += [np.log1p(np.where(count > 0, MOMENT - at, 0) / DAY) for at in (last, first)]
    return np.stack(columns, axis=1)


def write(
    out: Path, tastes: list[np.ndarray], counted: np.ndarray, histograms: list[np.ndarray]
) -> None:
    """Directions and shares of whoever has played, as Parquet."""
    parts = [_scaled(taste, np.linalg.norm(taste, axis=1)) for taste in tastes]
    parts += [counted, *(_scaled(shares, shares.sum(axis=1)) for shares in histograms)]
    rows = np.concatenate(parts, axis=1).astype(np.float32)
    heard = np.flatnonzero(rows[:, 3 * VECTOR_SIZE + 3])
    table = pa.table({"user_id": heard, "features": list_column(rows[heard])})
    pq.write_table(table, out, use_dictionary=False, write_statistics=False)


def _scaled(rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    return rows / np.where(size > 0, size, 1)[:, None]


def ours(spark: SparkSession, items: Shipped, buckets: int, folder: Path, out: Path) -> None:
    """The job from its plays on: blocks, one shuffle, the features of a bucket, its files."""
    plays = spark.read.parquet(str(folder / "plays")).select(
        F.pmod(F.xxhash64("user_id"), F.lit(buckets)).cast("int").alias("bucket"),
        "user_id",
        "item",
        F.unix_micros("played_at").alias("at"),
        F.lit(0).cast("long").alias("tie"),
        "ms_played",
        F.lit(None).cast("string").alias("item_kind"),
        F.lit(None).cast("string").alias("surface"),
        "device",
    )
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
    bucket_files(in_blocks(plays, PLAYS), compute, Lakehouse(str(out)), buckets)


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
    """One process on two cores, as the runner starts it."""
    settings = {
        "spark.driver.memory": args.memory,
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.local.dir": str(args.folder / "spark"),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.dir": str(args.folder / "log"),
    }
    (args.folder / "log").mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.master(f"local[{CORES}]").appName("features")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        smallest = args.model_copy(update={"items": 1_000, "heaviest": 0})
        folder = prepared(smallest, 10_000, 100)
        ours(spark, our_items(folder), CORES, folder, folder / "out of ours")
        yield spark
    finally:
        spark.stop()


def prepared(args: Features, events: int, users: int) -> Path:
    """Where plays of that size are."""
    folder = args.folder / f"{events}-{users}-{args.items}-{args.heaviest}"
    if not (folder / "vectors.npy").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make_plays(folder, events, users, args.items, args.heaviest)
    return folder


def our_items(folder: Path) -> Shipped:
    """The vectors as the job ships them; no item has a creator here."""
    shutil.rmtree(folder / "items", ignore_errors=True)
    vectors = np.load(folder / "vectors.npy")
    nobody, unknown = np.full(len(vectors), -1), np.full(len(vectors), np.nan)
    ids = pa.array(np.arange(len(vectors)).astype(str))
    return saved(folder / "items", {WHOLE: vectors}, nobody, unknown, ids)


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
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        said(program="ours", events=events, seconds=took, driver_mb=round(peak), heap=args.memory)


def slowest_task(log: Path) -> None:
    """Say of each stage of the last run how long its slowest task took beside the median one."""
    tasks: dict[int, list[int]] = {}
    for line in log.open():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            took = event["Task Metrics"]["Executor Run Time"]
            tasks.setdefault(event["Stage ID"], []).append(took)
    for stage in sorted(tasks)[-2:]:
        took = sorted(tasks[stage])
        median = took[len(took) // 2]
        said(
            stage=stage,
            tasks=len(took),
            median_ms=median,
            slowest_ms=took[-1],
            ratio=round(took[-1] / median, 2),
        )


def said(**line: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Make the plays, run the programs, print JSON lines."""
    args = Features.parse(argv)
    torch.set_num_threads(CORES)
    with spark_on_this_machine(args) as spark:
        log = args.folder / "log" / spark.sparkContext.applicationId
        (grow if args.sizes else compare)(args, spark)
    slowest_task(log)


if __name__ == "__main__":
    main()
