"""Fit the user model of a batch with Ray Train.

::

    python ray_apps/train_user_model.py --lakehouse URI --batch-id ID
    ray job submit --working-dir . -- python ray_apps/train_user_model.py …

Ray Data streams the training examples from Delta, at the version that the batch published, and
splits them evenly over the workers (``ray_apps.feed``); DistributedDataParallel adds up the
gradients. Checkpoints lie below the lakehouse, or at any other URI, until the batch has its model.
A worker or a host that dies is replaced; where the driver dies, the same command goes on from the
last checkpoint, and other settings begin anew. After the last epoch the model goes back towards its
start, which equals the average of item vectors, as far as users who are held out of fitting are
served as well (``models.training.settle``). Learning curves go to ``model.json``, to the batch's
report, and to MLflow where ``MLFLOW_TRACKING_URI`` is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from pydantic import Field

from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from models.training import TrainingConfig
from ray_apps.attempts import Attempts
from ray_apps.session import ray_session
from ray_apps.tables import ray_filesystem
from ray_apps.tracking import track, tracking_wanted
from schemas.errors import BatchError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.data import Dataset
    from ray.train import Result, ScalingConfig

    from lakehouse.batch import Batch

KEPT_CHECKPOINTS = 2  # the newest, and the one before it while the newest is written


class TrainUserModel(Settings):
    """Fit the user model of a batch on what users played next, with Ray Train."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch, whose features are built."""
    workers: int = Field(default=1, ge=1)
    """Training processes; each takes a share of a CPU or a GPU."""
    gpus: bool = False
    """Whether each worker has a GPU."""
    checkpoints: str | None = None
    """Folder or URI for checkpoints, which every host can write; by default in the lakehouse."""
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    """Seconds between checkpoints, which take longer than a small epoch; 0: after each epoch."""
    max_failures: int = 3
    """How often workers that died are replaced before the run fails."""
    training: TrainingConfig = TrainingConfig()
    """How to fit, for example --training.epochs 5."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Train, keep the model, write it down in the batch."""
    args = TrainUserModel.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "train")
    batch = lake.batches.to_write(args.batch_id)
    if batch.refresh is not None:
        raise BatchError(f"batch {batch.batch_id} is being refreshed, and keeps its model")
    if batch.layout is None:
        raise BatchError(f"batch {batch.batch_id} has no features yet: run jobs/build_features.py")
    attempts = Attempts(args.checkpoints or f"{lake.uri}/checkpoints", batch, args.training)
    with ray_session(show_workers=True):
        result = fit(lake, batch, args, attempts)
        digest = keep_model(lake, batch, result, args.training)
    lake.batches.record(
        batch.batch_id,
        model_uri=lake.model_uri(batch.batch_id),
        model_sha256=digest,
        recipe={"train": args.recipe()},
    )
    attempts.forget()
    rows = lake.dataset("training_examples", batch).count_rows()
    told = result.metrics or {}
    clock.finish(batch.batch_id, rows_in=rows, rows_out=1, **told)
    if tracking_wanted():
        track(batch.batch_id, args.training.model_dump(), told, lake.model_uri(batch.batch_id))


def fit(lake: Lakehouse, batch: Batch, args: TrainUserModel, attempts: Attempts) -> Result:
    """Run the workers; the result carries the model and how training went."""
    from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig
    from ray.train.torch import TorchTrainer

    from ray_apps.training_loop import worker

    name, checkpoint = attempts.begin()
    trainer = TorchTrainer(
        worker,
        train_loop_config={
            "lakehouse": lake.uri,
            "batch_id": batch.batch_id,
            "training": args.training.model_dump(),
            "steps_per_epoch": steps_per_epoch(lake, batch, args.training.batch_size),
            "checkpoint_seconds": args.checkpoint_seconds,
            "checkpoint": checkpoint,
        },
        datasets={"train": training_rows(lake, batch)},
        scaling_config=scaling(args),
        run_config=RunConfig(
            name=name,
            storage_path=attempts.place,
            storage_filesystem=ray_filesystem(attempts.filesystem),
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT_CHECKPOINTS),
            failure_config=FailureConfig(max_failures=args.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    return trainer.fit()


def scaling(args: TrainUserModel) -> ScalingConfig:
    """Workers, and where they are put.

    Halves of a CPU would all fit on one host, so they are spread; GPUs of one host are the nearest.
    """
    from ray.train import ScalingConfig

    return ScalingConfig(
        num_workers=args.workers,
        use_gpu=args.gpus,
        resources_per_worker={"CPU": cpus_per_worker(args.workers)}
        | ({"GPU": 1} if args.gpus else {}),
        placement_strategy="PACK" if args.gpus else "SPREAD",
    )


def training_rows(lake: Lakehouse, batch: Batch) -> Dataset:
    """The examples of users who are not held out, streamed; their files in another order each time.

    Pinned: a batch's files are those of the version that it published.
    """
    import ray
    from ray.data.expressions import col

    files = lake.files("training_examples", batch)
    store = ray_filesystem(lake.filesystem)
    rows = ray.data.read_parquet(files, filesystem=store, shuffle="files")
    return rows.filter(expr=~col("validation"))


def steps_per_epoch(lake: Lakehouse, batch: Batch, batch_size: int) -> int:
    """Steps in which every user that trains is seen once on average; read a piece at a time."""
    pieces = lake.dataset("training_examples", batch).to_batches(columns=["weight"])
    weight = sum(pc.sum(piece["weight"]).as_py() or 0.0 for piece in pieces)
    return max(1, round(weight / batch_size))


def cpus_per_worker(workers: int) -> float:
    """Half a CPU, and never more than half of the cluster's together.

    Ray counts, it does not bind: a worker computes as fast either way. Whole CPUs, or many halves,
    would leave none for Ray Data's readers, and all would wait for ever.
    """
    import ray

    return min(0.5, ray.cluster_resources().get("CPU", 1.0) / 2 / workers)


def keep_model(lake: Lakehouse, batch: Batch, result: Result, training: TrainingConfig) -> str:
    """Copy the weights to the batch's model folder; returns their SHA-256."""
    from models.checkpoint import load_model, save_model
    from ray_apps.training_loop import MODEL

    if result.checkpoint is None or result.metrics is None:
        raise BatchError("training ended without a model")
    with result.checkpoint.as_directory() as folder:
        model = load_model(str(Path(folder) / MODEL))
    return save_model(
        model,
        lake.model_uri(batch.batch_id),
        batch_id=batch.batch_id,
        training=training.model_dump(mode="json"),
        **result.metrics,
    )


if __name__ == "__main__":
    main()
