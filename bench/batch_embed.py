"""How fast everyone is embedded, beside a hand-written loop over the same files and model.

::

    python bench/batch_embed.py --users 5000000 --hidden 512 --hidden 256
    python bench/batch_embed.py --users 1000000 --users 50000000 --peers app --repeats 1
    python bench/batch_embed.py --limits

The peers, each on all cores: ``threads``, one process with pyarrow and PyTorch whose threads are
the cores; ``processes``, the same loop in a process per core, which share the files out; both read
files as ``pyarrow.parquet`` writes them if it is told nothing. ``app defaults`` is
``ray_apps/batch_embed.py`` over the same files, ``app`` over files as ``lakehouse/files.py`` lays
them out. Speeds are from the first bucket's begin to the last one's end: start-up is left out of
all. Feature rows are random; beyond ``--distinct`` users the files are links to the first ones, and
``--drop`` removes what is written as soon as it is recorded, so that many users need little disk.
``--limits`` measures parts alone on one core. Each measurement is a line of JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.files import write_file
from lakehouse.publish import add_actions
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.fingerprint import fingerprints
from models.layout import build_layout
from ray_apps.feature_rows import FeatureBuckets
from schemas.arrow import list_column
from schemas.contract import contract
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakehouse.batch import Batch

Peer = Literal["threads", "processes", "app defaults", "app"]
PEERS: tuple[Peer, ...] = ("threads", "processes", "app defaults", "app")
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
LAYOUT = build_layout({"surface": ["home", "search"], "country": ["DE", "SE"]})
FEATURES = "user_features"
LOOP_ROWS = 8_192  # that the loop reads at once
LOOP_AT_ONCE = 1_024  # and embeds at once, which is faster than all of them
CORES = os.cpu_count() or 1


class Embedding(Settings):
    """Measure how fast users are embedded."""

    users: tuple[int, ...] = (1_000_000,)
    """Users."""
    bucket: int = 50_000
    """Users of a bucket, which is a file."""
    distinct: int = 1_000_000
    """Users who have rows of their own; the files of the others are links to theirs."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the model's hidden layers."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the app."""
    peers: tuple[Peer, ...] = PEERS
    """Which are measured."""
    repeats: int = 3
    """How often each is measured."""
    drop: bool = False
    """Remove the vectors of a bucket when it is done."""
    limits: bool = False
    """Measure reading, computing and writing alone, instead."""
    folder: str | None = None
    """Where files are written; a temporary folder if none is given."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the users, and measure each peer."""
    args = Embedding.parse(argv)
    for users in args.users:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            lakes = {
                laid_out: made(Lakehouse(f"{folder}/{laid_out}"), users, laid_out, args)
                for laid_out in ("defaults", "ours")
                if laid_out == "ours" or set(args.peers) != {"app"}
            }
            if args.limits:
                limits(lakes, folder)
                continue
            for repeat in range(args.repeats):
                for peer in args.peers:
                    line = measure(peer, lakes, folder, args)
                    said(users=users, repeat=repeat, peer=peer, hidden=args.hidden, **line)


def said(**line: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)


def made(lake: Lakehouse, users: int, laid_out: str, args: Embedding) -> tuple[Lakehouse, Batch]:
    """A batch with features and a model that was never trained."""
    import torch

    from models.user_model import UserModel, UserModelConfig

    torch.manual_seed(0)
    batch_id = lake.batches.open(AS_OF, {}, "", "0").batch_id
    target = lake.ensure(FEATURES)
    names: list[str] = []
    rng = np.random.default_rng(0)
    for bucket in range(-(-users // args.bucket)):
        name = f"batch_id={batch_id}/bucket-{bucket:05d}.parquet"
        if bucket * args.bucket < args.distinct:
            count = min(args.bucket, users - bucket * args.bucket)
            rows = features(rng, batch_id, bucket, count)
            if laid_out == "ours":
                write_file(lake, FEATURES, name, rows)
            else:
                place = Path(lake.table_uri(FEATURES)) / name
                place.parent.mkdir(exist_ok=True)
                pq.write_table(rows, place)
        names.append(name)
    log(lake, target, batch_id, names)
    uri = lake.model_uri(batch_id)
    digest = save_model(UserModel(UserModelConfig(layout=LAYOUT, hidden=args.hidden)), uri)
    changes = {"layout": LAYOUT.model_dump_json(), "model_uri": uri, "model_sha256": digest}
    tables = {FEATURES: lake.open(FEATURES).version()}
    return lake, lake.batches.record(batch_id, tables=tables, **changes)


def log(lake: Lakehouse, target: Any, batch_id: str, names: list[str]) -> None:
    """Link the files that are not there, and commit all, each as the bucket of its name."""
    from dataclasses import replace

    own = [name for name in names if (Path(lake.table_uri(FEATURES)) / name).exists()]
    actions = add_actions(lake, FEATURES, own, {"batch_id": batch_id})
    for bucket, name in enumerate(names[len(own) :], start=len(own)):
        like = actions[bucket % len(own)]
        os.link(f"{lake.table_uri(FEATURES)}/{like.path}", f"{lake.table_uri(FEATURES)}/{name}")
        stats = json.loads(like.stats)
        stats["minValues"]["bucket"] = stats["maxValues"]["bucket"] = bucket
        actions.append(replace(like, path=name, stats=json.dumps(stats)))
    target.create_write_transaction(
        actions, mode="append", schema=target.schema(), partition_by=["batch_id"]
    )


def features(rng: np.random.Generator, batch_id: str, bucket: int, count: int) -> pa.Table:
    """Feature rows of a bucket; no group is missing."""
    values = rng.standard_normal((count, LAYOUT.width), np.float32)
    present = np.ones((count, len(LAYOUT.groups)), np.float32)
    columns = {
        "batch_id": pa.repeat(batch_id, count),
        "user_id": [f"user-{bucket:05d}-{number:06d}" for number in range(count)],
        "bucket": pa.repeat(pa.scalar(bucket, pa.int32()), count),
        "as_of": pa.repeat(pa.scalar(AS_OF, pa.timestamp("us", "UTC")), count),
        "features": list_column(values),
        "present": list_column(present),
        "played_between": [[]] * count,
        "decayed_plays": [[]] * count,
        "fingerprint": fingerprints(values, present),
    }
    return pa.Table.from_pydict(columns, schema=contract(FEATURES).arrow_schema)


def measure(
    peer: Peer, lakes: dict[str, tuple[Lakehouse, Batch]], folder: str, args: Embedding
) -> dict[str, Any]:
    """Users per second of one peer, and what its processes held."""
    lake, batch = lakes["ours" if peer == "app" else "defaults"]
    if peer in ("app", "app defaults"):
        return app(lake, batch, args)
    files = sorted(Path(lake.table_uri(FEATURES), f"batch_id={batch.batch_id}").glob("*.parquet"))
    workers = CORES if peer == "processes" else 1
    with tempfile.TemporaryDirectory(dir=folder) as out:
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(workers)
        ends = context.Queue()
        shares = [files[worker::workers] for worker in range(workers)]
        told = (batch.model_uri, out, CORES // workers, ready, ends)
        started = [
            context.Process(target=loop, args=(share, *told), kwargs={"drop": args.drop})
            for share in shares
        ]
        for process in started:
            process.start()
        seen = [ends.get() for _ in started]
        for process in started:
            process.join()
    began, ended = min(one["began"] for one in seen), max(one["ended"] for one in seen)
    rows = sum(one["rows"] for one in seen)
    return {
        "users_per_second": round(rows / (ended - began)),
        "core_seconds_per_million": round(sum(one["cpu"] for one in seen) / rows * 1e6, 2),
        "worker_mb": max(one["mb"] for one in seen),
    }


def loop(
    files: list[Path], uri: str, out: str, threads: int, ready: Any, ends: Any, *, drop: bool
) -> None:
    """The hand-written loop: Parquet in, PyTorch, Parquet out."""
    import torch

    from models.checkpoint import load_model

    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    torch.set_num_threads(threads)
    pa.set_cpu_count(threads)
    model = load_model(uri)
    wanted = ["user_id", "features", "present"]
    with torch.inference_mode():
        model.users(
            torch.zeros(LOOP_AT_ONCE, LAYOUT.width),
            torch.ones(1, 1).expand(LOOP_AT_ONCE, len(LAYOUT.groups)),
        )
        ready.wait()
        began, busy, rows = time.time(), time.process_time(), 0
        for file in files:
            place = f"{out}/{file.name}"
            with pq.ParquetWriter(place, OUT) as writer:
                for part in pq.ParquetFile(file).iter_batches(LOOP_ROWS, columns=wanted):
                    count = len(part)
                    values, present = (
                        torch.from_numpy(part[name].values.to_numpy().reshape(count, -1))
                        for name in ("features", "present")
                    )
                    vectors = torch.cat(
                        [
                            model.users(*both)
                            for both in zip(
                                values.split(LOOP_AT_ONCE), present.split(LOOP_AT_ONCE), strict=True
                            )
                        ]
                    )
                    columns = [part["user_id"], list_column(vectors.numpy())]
                    writer.write_table(pa.Table.from_arrays(columns, schema=OUT))
                    rows += count
            if drop:
                Path(place).unlink()
    ends.put(
        {
            "began": began,
            "ended": time.time(),
            "cpu": time.process_time() - busy,
            "rows": rows,
            "mb": own_mb(os.getpid()),
        }
    )


OUT = pa.schema([("user_id", pa.string()), ("embedding", pa.list_(pa.float32()))])


def app(lake: Lakehouse, batch: Batch, args: Embedding) -> dict[str, Any]:
    """The app up to its gate, on a Ray of this machine."""
    from ray_apps.batch_embed import BatchEmbed, embed_buckets
    from ray_apps.bucket_plan import BucketPlan
    from ray_apps.session import ray_session

    flags = ["--lakehouse", lake.uri, "--batch-id", batch.batch_id, "--precision", args.precision]
    settings = BatchEmbed.parse(flags)
    plan = BucketPlan(lake, batch, settings.precision)
    table = Path(lake.table_uri("user_embeddings"))
    seen = Seen(table if args.drop else None)
    began = time.time()
    with ray_session():
        embed_buckets(lake, plan.missing(), settings, seen)
    whole = time.time() - began
    for record in plan.records().values():
        for name in record.files:
            (table / name).unlink(missing_ok=True)
    lake.filesystem.rm(lake.staging_uri(batch.batch_id, "user_embeddings"), recursive=True)
    return {**seen.line(), "seconds_with_start": round(whole, 1)}


class Seen:
    """Takes what became of each bucket, in place of the app's progress."""

    def __init__(self, drop: Path | None) -> None:
        self._drop, self._told, self._mb = drop, [], 0
        self._cpu: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def count(self, told: dict[str, Any]) -> None:
        """Note when a bucket began and ended."""
        if told["reason"]:
            raise RuntimeError(told["reason"])
        now = time.time()
        self._told.append({**told, "began": now - told["seconds"], "ended": now})
        if self._drop is not None:
            for place in self._drop.glob(f"*/bucket-{told['bucket']:05d}-*.parquet"):
                place.unlink()

    def line(self) -> dict[str, Any]:
        """Users per second from the first begin to the last end, and what a worker held."""
        self._over.set()
        self._thread.join()
        began = min(one["began"] for one in self._told)
        ended = max(one["ended"] for one in self._told)
        took = np.array([one["seconds"] for one in self._told])
        rows = sum(one["rows"] for one in self._told)
        busy = sum(one["core_seconds"] for one in self._told)
        return {
            "users_per_second": round(rows / (ended - began)),
            "core_seconds_per_million": round(busy / rows * 1e6, 2),
            "bucket_seconds": [round(float(np.quantile(took, q)), 3) for q in (0.1, 0.5, 0.9, 1)],
            "worker_mb": self._mb,
        }

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self._mb = max(self._mb, *map(own_mb, workers()), 0)


def workers() -> Iterator[int]:
    """Processes of this machine that embed for Ray (Linux)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"EmbedBucket" in (folder / "cmdline").read_bytes():
                yield int(folder.name)


def own_mb(process: int) -> int:
    """Memory of a process that it shares with no other, in MB; 0 of one that has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        held = next(line for line in lines if line.startswith("RssAnon"))
        return int(held.split()[1]) // 1024
    return 0


def limits(lakes: dict[str, tuple[Lakehouse, Batch]], folder: str) -> None:
    """Core-seconds per million users of the parts, each alone on one core."""
    import torch

    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    files = lakes["defaults"][0].files(FEATURES, lakes["defaults"][1])
    said(part="reading defaults", **per_million(lambda: reading(files)))
    lake, batch = lakes["ours"]
    ours = FeatureBuckets(lake.dataset(FEATURES, batch), one_to_a_file=True)
    numbers = range(len(lake.files(FEATURES, batch)))
    said(
        part="reading ours",
        **per_million(
            lambda: sum(len(part.features) for number in numbers for part in ours.rows(number))
        ),
    )
    first = pq.read_table(lake.files(FEATURES, batch)[0], partitioning=None)
    from models.checkpoint import load_model
    from models.predictor import ByOneDnn, UserPredictor
    from schemas.arrow import matrix

    values = matrix(first["features"])[:LOOP_ROWS]
    present = matrix(first["present"])[:LOOP_ROWS]
    for precision in ("float32", "bfloat16"):
        predictor = UserPredictor(batch.model_uri or "", precision=precision)
        predictor.choose_rows_at_once(values, present, 2**28)
        line = per_million(lambda p=predictor: len(p.embed(values, present)))
        said(part=f"embedding {precision}", rows_at_once=predictor.rows_at_once, **line)
    whole = load_model(batch.model_uri or "").user_net
    net = torch.nn.Sequential(*(part for part in whole if isinstance(part, torch.nn.Linear)))
    wide = torch.from_numpy(np.concatenate([values, present], axis=1)).split(LOOP_AT_ONCE)
    for library, products in (("MKL", net), ("oneDNN", ByOneDnn(net))):
        with torch.inference_mode():
            line = per_million(lambda p=products: sum(len(p(rows)) for rows in wide))
        said(part=f"products of matrices by {library}", **line)
    vectors = torch.randn(len(values), 128).numpy()
    ids = first["user_id"].slice(0, len(values)).combine_chunks()
    said(part="writing defaults", **per_million(lambda: writing(ids, vectors, folder)))
    rows = embeddings(ids, vectors)
    said(part="writing ours", **per_million(lambda: written(lake, rows)))


def per_million(what: Any) -> dict[str, float]:
    """The best of five tries."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        rows = what()
        best = min(best, (time.process_time() - began) / rows)
    return {"core_seconds_per_million": round(best * 1e6, 2)}


def reading(files: list[str]) -> int:
    """Read all rows as the loop does; returns how many."""
    wanted = ["user_id", "features", "present"]
    parts = (
        part
        for file in files
        for part in pq.ParquetFile(file).iter_batches(LOOP_ROWS, columns=wanted, use_threads=False)
    )
    return sum(len(part["features"]) for part in parts)


def writing(ids: pa.Array, vectors: np.ndarray, folder: str) -> int:
    """Write rows with the defaults of pyarrow."""
    with pq.ParquetWriter(f"{folder}/out.parquet", OUT) as writer:
        for _ in range(8):
            writer.write_table(pa.Table.from_arrays([ids, list_column(vectors)], schema=OUT))
    return 8 * len(ids)


def embeddings(ids: pa.Array, vectors: np.ndarray) -> pa.Table:
    """Rows of ``user_embeddings``."""
    count = len(ids)
    columns = {
        "batch_id": pa.repeat("b", count),
        "user_id": ids,
        "bucket": pa.repeat(pa.scalar(0, pa.int32()), count),
        "as_of": pa.repeat(pa.scalar(AS_OF, pa.timestamp("us", "UTC")), count),
        "embedding": list_column(vectors),
        "source": pa.repeat("batch", count),
        "status": pa.repeat("established", count),
        "fingerprint": pa.repeat(pa.scalar(0, pa.int64()), count),
    }
    schema = contract("user_embeddings").arrow_schema
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def written(lake: Lakehouse, rows: pa.Table) -> int:
    """Write them as the worker does."""
    from lakehouse.files import table_file

    with table_file(lake, "user_embeddings", "limit.parquet") as file:
        for _ in range(8):
            file.write(rows)
    return file.rows


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1" if "--limits" in sys.argv else str(CORES))
    main()
