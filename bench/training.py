"""How fast a worker trains beside a plain loop over the same tensors, and what it holds in memory.

::

    python bench/training.py --users 20000
    python bench/training.py --users 100000 --users 2000000 --repeats 1 --epochs 1 --no-plain

Users with random features play items near their taste. They are written to a lakehouse as
``jobs/build_features.py`` would, and trained on with the loop of ``ray_apps/train_user_model.py``,
streamed by Ray Data. The plain loop has all rows in memory as tensors, shuffles them, and takes the
same steps with the same model and loss on the same number of threads. Speeds are of the steps
alone, the first epoch of each (start-up, first pass) left out; per second of the clock, and per
second of a CPU, which other work on the machine leaves alone. Memory is the most that was the
process's own: pages of Ray's object store, which it shares with others, are counted with the store.
Both run in processes of their own, one after the other. Each measurement is a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakehouse.storage import Lakehouse
from models.checkpoint import save_codebook
from models.codebook import fit_codebook
from models.layout import VECTOR_SIZE, build_layout
from schemas.arrow import list_column
from schemas.contract import contract
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakehouse.batch import Batch

ROOT = Path(__file__).resolve().parents[1]
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
LAYOUT = build_layout({"surface": ["home", "search"], "country": ["DE", "SE"]})
FOLDS, TARGETS, WRITTEN_AT_ONCE = 5, 8, 10_000


class Training(Settings):
    """Measure speed and memory of training at some numbers of users."""

    users: tuple[int, ...] = (20_000,)
    """Users, each with one example."""
    items: int = 5_000
    """Items that they play."""
    epochs: int = 3
    """Passes; the first is not counted, so that one tells of memory alone."""
    repeats: int = 3
    """How often each is measured."""
    plain: bool = True
    """Whether the plain loop is measured, too; it holds all users in memory."""
    only: str | None = None
    """Internal: measure the loop of this name on ``lakehouse`` in this process."""
    lakehouse: str | None = None
    """Internal: what was made."""
    batch_id: str | None = None
    """Internal: likewise."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the users, and measure each loop in a process of its own."""
    args = Training.parse(argv)
    if args.only is not None:
        lake = Lakehouse(args.lakehouse or "")
        measure = {"app": app, "plain": plain}[args.only]
        print(json.dumps(measure(lake, lake.batches.get(args.batch_id or ""), args)), flush=True)
        return
    for users in args.users:
        with tempfile.TemporaryDirectory() as folder:
            lake = Lakehouse(f"{folder}/lake")
            batch = made(lake, users, args.items)
            for repeat in range(args.repeats):
                for name in ("app", "plain")[: 1 + args.plain]:
                    line = in_a_process(name, lake, batch, args)
                    print(json.dumps({"users": users, "repeat": repeat, **line}), flush=True)


def in_a_process(name: str, lake: Lakehouse, batch: Batch, args: Training) -> dict[str, Any]:
    """Measure one loop, on one thread of its own."""
    argv = ["--only", name, "--lakehouse", lake.uri, "--batch-id", batch.batch_id]
    argv += ["--epochs", str(args.epochs)]
    done = subprocess.run(
        [sys.executable, __file__, *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def made(lake: Lakehouse, users: int, items: int) -> Batch:
    """A batch that is ready to be trained."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((items, VECTOR_SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    batch_id = lake.batches.open(AS_OF, {}, "", "0").batch_id
    tables = {
        "track_vectors": [_tracks(batch_id, vectors)],
        "training_vectors": [_folds(batch_id, vectors)],
        "training_examples": _examples(batch_id, users, vectors, rng),
    }
    for table, parts in tables.items():
        for part in parts:
            lake.append(table, part.select(contract(table).column_names))
        version = lake.open(table).version()
        lake.batches.record(batch_id, tables={table: version})
    lake.batches.record(batch_id, layout=LAYOUT.model_dump_json())
    codebook = fit_codebook(vectors, np.ones(items), seed=0)
    save_codebook(codebook, lake.model_uri(batch_id))
    return lake.batches.get(batch_id)


def _tracks(batch_id: str, vectors: np.ndarray) -> pa.Table:
    count = len(vectors)
    return pa.table(
        {
            "batch_id": [batch_id] * count,
            "item_id": [f"t{item}" for item in range(count)],
            "vector": list_column(vectors),
            "support": [3] * count,
            "source": ["blend"] * count,
        }
    )


def _folds(batch_id: str, vectors: np.ndarray) -> pa.Table:
    tracks = _tracks(batch_id, vectors)
    numbers = [pa.array([fold] * len(vectors)) for fold in range(FOLDS)]
    return pa.concat_tables([tracks.append_column("fold", number) for number in numbers])


def _examples(
    batch_id: str, users: int, vectors: np.ndarray, rng: np.random.Generator
) -> Iterator[pa.Table]:
    """Rows in parts, so that making them holds no more memory than training on them."""
    for first in range(0, users, WRITTEN_AT_ONCE):
        count = min(WRITTEN_AT_ONCE, users - first)
        numbers = np.arange(first, first + count)
        liked = rng.integers(0, len(vectors), (count, TARGETS))
        features = rng.random((count, LAYOUT.width), np.float32)
        features[:, LAYOUT["taste_30d"].slice] = vectors[liked[:, 0]]
        yield pa.table(
            {
                "batch_id": [batch_id] * count,
                "user_id": [f"u{number}" for number in numbers],
                "bucket": pa.array(numbers % 16, pa.int32()),
                "as_of": [AS_OF] * count,
                "features": list_column(features),
                "present": list_column(np.ones((count, len(LAYOUT.groups)), np.float32)),
                "validation": numbers % 100 == 0,
                "fold": pa.array(numbers % FOLDS, pa.int32()),
                "weight": pa.array(np.ones(count), pa.float32()),
                "targets": [[f"t{item}" for item in own] for own in liked],
            }
        )


def app(lake: Lakehouse, batch: Batch, args: Training) -> dict[str, Any]:
    """The loop of the app, one worker."""
    from ray_apps.session import ray_session

    with ray_session():
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from ray_apps.train_user_model import cpus_per_worker, training_rows

        place = f"{lake.uri}/checkpoints/bench"
        trainer = TorchTrainer(
            measured_worker,
            train_loop_config=_config(lake, batch, args),
            datasets={"train": training_rows(lake, batch)},
            scaling_config=ScalingConfig(
                num_workers=1, resources_per_worker={"CPU": cpus_per_worker(1)}
            ),
            run_config=RunConfig(storage_path=place),
        )
        line = trainer.fit().return_value
        ray.shutdown()
    return {"loop": "app", **line}


def measured_worker(config: dict[str, Any]) -> dict[str, Any]:
    """A worker that stops after its last epoch and tells of its steps and its memory."""
    import torch
    from ray import train

    from ray_apps.surroundings import Surroundings
    from ray_apps.training_loop import TrainingLoop

    shard = train.get_dataset_shard("train")
    cpu = torch.device("cpu")
    memory = Memory()
    loop = TrainingLoop(config, Surroundings(shard, lambda *_: None, cpu))
    loop.go_on_from(None)
    busy, users = 0.0, 0.0
    while not loop.finished:
        began, before = time.process_time(), loop.progress.sums.get("users", 0.0)
        loop.step()
        if loop.progress.epochs and loop.progress.steps:  # no first pass, no measuring between
            busy += time.process_time() - began
            users += loop.progress.sums["users"] - (before if loop.progress.steps > 1 else 0.0)
    counted = loop.progress.history[1:]
    told = {"threads": torch.get_num_threads(), "worker_mb": memory.most_mb()}
    if not counted:
        return told
    rates, waiting = zip(
        *((one["users_per_second"], one["waiting"]) for one in counted), strict=True
    )
    return {
        "users_per_second": round(float(np.mean(rates))),
        "users_per_cpu_second": round(users / busy),
        "waiting": round(float(np.mean(waiting)), 3),
        **told,
    }


def plain(lake: Lakehouse, batch: Batch, args: Training) -> dict[str, Any]:
    """The same steps from tensors in memory, shuffled before each epoch."""
    import pyarrow.compute as pc
    import torch

    from models.training import Trainer, TrainingConfig
    from models.user_model import UserModel
    from ray_apps.examples import Items, by_fold

    memory = Memory()
    config = _config(lake, batch, args)
    training = TrainingConfig.model_validate(config["training"])
    items = Items(lake, batch)
    table = lake.dataset("training_examples", batch).to_table(filter=~pc.field("validation"))
    rows = items.rows(table)
    del table
    model = UserModel.of(LAYOUT, items.codebook)
    trainer = Trainer(model, model, training, config["steps_per_epoch"] * args.epochs)
    rng = np.random.default_rng(0)
    rates, busy = [], []
    for _ in range(args.epochs):
        began, busy_before = time.perf_counter(), time.process_time()
        folds = by_fold(rows, rng.permutation(len(rows)))
        parts = [part for of in folds for part in np.array_split(of, round(len(of) / 128))]
        for position in rng.permutation(len(parts)):
            examples = rows.examples(parts[position])
            trainer.step(examples, items.tables[examples.fold])
        rates.append(len(rows) / (time.perf_counter() - began))
        busy.append(len(rows) / (time.process_time() - busy_before))
    told = {"loop": "plain", "threads": torch.get_num_threads(), "worker_mb": memory.most_mb()}
    if args.epochs == 1:
        return told
    return {
        "users_per_second": round(float(np.mean(rates[1:]))),
        "users_per_cpu_second": round(float(np.mean(busy[1:]))),
        **told,
    }


class Memory:
    """Watches the memory of this process that is its own (Linux)."""

    def __init__(self) -> None:
        self._most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def most_mb(self) -> int:
        """The most that was resident so far, looked at five times a second, in MB."""
        return self._most // 1024

    def _watch(self) -> None:
        status = Path("/proc/self/status")
        while True:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            self._most = max(self._most, int(lines["RssAnon"].split()[0]))
            time.sleep(0.2)


def _config(lake: Lakehouse, batch: Batch, args: Training) -> dict[str, Any]:
    from models.training import TrainingConfig
    from ray_apps.train_user_model import steps_per_epoch

    training = TrainingConfig(epochs=args.epochs, patience=0)
    return {
        "lakehouse": lake.uri,
        "batch_id": batch.batch_id,
        "training": training.model_dump(),
        "steps_per_epoch": steps_per_epoch(lake, batch, training.batch_size),
        "checkpoint_seconds": float("inf"),
        "checkpoint": None,
    }


if __name__ == "__main__":
    main()
