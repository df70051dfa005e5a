"""A plan for clusters that nobody here has: embedding a billion users on up to 1,000 cores.

::

    python bench/scale.py --measure
    python bench/scale.py --dispatched 147 --checked 140000 …

``--measure`` takes on this machine what one driver limits: how many buckets a second Ray Data hands
out and takes back, how long records are read, files' footers are opened, a commit is written and
the log is read, by numbers of files. Without it those figures, given as flags, and core-seconds of
a bucket are played through: workers of unequal speed take buckets from one driver, a few buckets
are slow, some workers die. Simulated, not run. Each case is a line of JSON.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from batch_embed import Embedding, embeddings, made, said

from lakehouse.files import write_file
from lakehouse.publish import add_actions
from lakehouse.storage import Lakehouse
from ray_apps.bucket_plan import BucketPlan, Record
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDINGS = "user_embeddings"


class Scale(Settings):
    """Measure what one driver limits, or play a large cluster through."""

    measure: bool = False
    """Measure on this machine, instead of playing through."""
    files: tuple[int, ...] = (1_000, 10_000)
    """Numbers of files that are measured."""
    handed_out: int = 2_000
    """Buckets without work, for the speed of the driver."""
    users: int = 1_000_000_000
    """Users."""
    workers: tuple[int, ...] = (10, 100, 1_000)
    """Workers, of one core each."""
    buckets: tuple[int, ...] = (1_000, 4_000, 16_000, 32_000, 128_000)
    """Numbers of buckets."""
    per_million: float = 6.2
    """Core-seconds of a worker for a million users."""
    per_bucket: float = 0.03
    """Seconds that a bucket takes whatever it holds: opening, renaming, its record."""
    dispatched: float = 147.0
    """Buckets a second that the driver hands out and takes back."""
    checked: float = 140_000.0
    """Users a second that a core checks, beside those of the live batch."""
    per_file: float = 0.001
    """Seconds of the driver for each file: its record, its footer, its place in the commit."""
    start: float = 20.0
    """Seconds until a worker is there."""
    spread: float = 0.15
    """Of the speeds of workers: the standard deviation of their logarithm."""
    slow: float = 0.01
    """Share of buckets that take ``slower`` times as long."""
    slower: float = 5.0
    """How much longer those take."""
    deaths: float = 0.01
    """Chance that a worker dies once, and is replaced."""
    seed: int = 0
    """Of all of it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, or play through each number of workers with each number of buckets."""
    args = Scale.parse(argv)
    if args.measure:
        driver(args.handed_out)
        for files in args.files:
            log_of(files)
        return
    for workers in args.workers:
        for buckets in args.buckets:
            said(workers=workers, buckets=buckets, **played(args, workers, buckets))


def played(args: Scale, workers: int, buckets: int) -> dict[str, Any]:
    """Seconds of embedding and of what the driver does after it, and what was lost to waiting."""
    rng = np.random.default_rng(args.seed)
    users = args.users / buckets
    speed = np.exp(rng.normal(0, args.spread, workers))
    work = np.full(buckets, users * args.per_million / 1e6 + args.per_bucket)
    work[rng.random(buckets) < args.slow] *= args.slower
    dies = np.where(rng.random(workers) < args.deaths, rng.random(workers), np.inf)
    dies = args.start + dies * work.sum() / workers
    free = [(args.start, worker) for worker in range(workers)]
    heapq.heapify(free)
    driver, ended, lost, bucket = 0.0, 0.0, 0.0, 0
    while bucket < buckets:
        at, worker = heapq.heappop(free)
        driver = max(driver + 1 / args.dispatched, at)
        done = driver + work[bucket] / speed[worker]
        if driver <= dies[worker] < done:  # the bucket is handed out again
            lost += dies[worker] - driver
            heapq.heappush(free, (dies[worker] + args.start, worker))
            dies[worker] = np.inf
            continue
        heapq.heappush(free, (done, worker))
        ended = max(ended, done)
        bucket += 1
    busy = float(work.sum())
    return {
        "bucket_users": round(users),
        "bucket_seconds": round(float(np.median(work)), 2),
        "embed_seconds": round(ended),
        "efficiency": round(busy / speed.mean() / (ended * workers), 3),
        "lost_core_seconds": round(lost, 1),
        "gate_seconds": round(args.users / args.checked / workers),
        "files_seconds": round(buckets * args.per_file),
        "core_hours": round(busy / 3600, 2),
    }


class NoWork:
    """A worker that takes buckets and gives them back."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Nothing happens."""
        return row


def driver(buckets: int) -> None:
    """How many buckets a second Ray Data hands out and takes back."""
    from ray_apps.session import ray_session

    with ray_session():
        import ray

        rows = ray.data.from_items(
            [{"bucket": bucket} for bucket in range(buckets)], override_num_blocks=buckets
        )
        pool = ray.data.ActorPoolStrategy(size=2)
        times = [time.perf_counter() for _ in rows.map(NoWork, compute=pool).iter_rows()]
    # The first tenth waits for the workers to start.
    first = len(times) // 10
    rate = (len(times) - first) / (times[-1] - times[first])
    said(part="buckets a second through one driver", buckets=buckets, rate=round(rate))


def log_of(files: int) -> None:
    """Seconds for records, footers, the commit and the log of so many files."""
    with tempfile.TemporaryDirectory() as folder:
        embedding = Embedding(users=(10,), bucket=10, distinct=10)
        lake, batch = made(Lakehouse(f"{folder}/lake"), 10, "ours", embedding)
        plan = BucketPlan(lake, batch, "float32")
        vectors = np.random.default_rng(0).random((10, 128), np.float32)
        ids = pa.array([f"u{number}" for number in range(10)])
        rows = embeddings(ids, vectors)
        names = [plan.file(bucket) for bucket in range(files)]
        write_file(lake, EMBEDDINGS, names[0], rows)
        first = Path(lake.table_uri(EMBEDDINGS)) / names[0]
        for name in names[1:]:
            (Path(lake.table_uri(EMBEDDINGS)) / name).hardlink_to(first)
        took: dict[str, float] = {}
        clock = Clock(took)
        with clock("records written"):
            for bucket, name in enumerate(names):
                plan.record(Record(bucket=bucket, rows=10, embedded=10, files=(name,), written=1))
        with clock("records read"):
            plan.records()
        table = lake.ensure(EMBEDDINGS)
        with clock("footers"):
            actions = add_actions(lake, EMBEDDINGS, names, {"batch_id": batch.batch_id})
        with clock("commit"):
            table.create_write_transaction(
                actions, mode="append", schema=table.schema(), partition_by=["batch_id"]
            )
        with clock("log read"):
            lake.open(EMBEDDINGS).get_add_actions(flatten=True)
        log = Path(lake.table_uri(EMBEDDINGS)) / "_delta_log"
        size = max(place.stat().st_size for place in log.glob("*.json"))
    said(part="log", files=files, commit_mb=round(size / 1e6, 2), **took)


class Clock:
    """Times blocks by name."""

    def __init__(self, took: dict[str, float]) -> None:
        self._took, self._name, self._began = took, "", 0.0

    def __call__(self, name: str) -> Clock:
        """Time the block that follows."""
        self._name = name.replace(" ", "_") + "_seconds"
        return self

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._took[self._name] = round(time.perf_counter() - self._began, 3)


if __name__ == "__main__":
    main()
