"""Fit the user model of a batch with Ray Train.

::

    python ray_apps/train_user_model.py --lakehouse URI --batch-id ID
    ray job submit --working-dir . -- python ray_apps/train_user_model.py …

Ray Data streams the training examples from Delta, at the version that the batch published, and
splits them over the workers; DistributedDataParallel adds up the gradients. After the last epoch
the model goes back towards its start, which equals the average of item vectors, as far as users who
are held out of fitting are served as well (``models.training.settle``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from models.layout import FeatureLayout
from models.training import TrainingConfig
from ray_apps.session import ray_session
from schemas.errors import BatchError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.train import Result

    from lakehouse.batch import Batch


class TrainUserModel(Settings):
    """Fit the user model of a batch on what users played next, with Ray Train."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch, whose features are built."""
    workers: int = 1
    """Training processes; each takes a share of a CPU or a GPU."""
    gpus: bool = False
    """Whether each worker has a GPU."""
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
    forget_attempts(lake, batch)  # Ray Train would count on from one that was broken off
    with ray_session(show_workers=True):
        result = fit(lake, batch, args)
        digest = keep_model(lake, batch, result, args.training)
    forget_attempts(lake, batch)
    lake.batches.record(
        batch.batch_id,
        model_uri=lake.model_uri(batch.batch_id),
        model_sha256=digest,
        recipe={"train": args.recipe()},
    )
    rows = lake.dataset("training_examples", batch).count_rows()
    clock.finish(batch.batch_id, rows_in=rows, rows_out=1, **(result.metrics or {}))


def fit(lake: Lakehouse, batch: Batch, args: TrainUserModel) -> Result:
    """Run the workers; the result carries the model and how training went."""
    import ray
    from ray.data.expressions import col
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    files = lake.files("training_examples", batch)
    dataset = ray.data.read_parquet(files).filter(expr=~col("validation"))
    trainer = TorchTrainer(
        worker,
        train_loop_config={
            "lakehouse": lake.uri,
            "batch_id": batch.batch_id,
            "training": args.training.model_dump(),
        },
        datasets={"train": dataset},
        scaling_config=ScalingConfig(
            num_workers=args.workers,
            use_gpu=args.gpus,
            # A fraction: whole CPUs would starve the readers of a small machine.
            resources_per_worker={"CPU": 0.5, **({"GPU": 1} if args.gpus else {})},
        ),
        run_config=RunConfig(
            name=batch.batch_id,
            storage_path=f"{lake.uri}/checkpoints",
        ),
    )
    return trainer.fit()


def worker(config: dict[str, Any]) -> None:
    """What each training process does."""
    import numpy as np
    import torch
    from ray import train
    from ray.train.torch import prepare_model

    from models.training import Trainer, held_out_aucs, settle
    from models.user_model import UserModel, UserModelConfig
    from ray_apps.examples import Items, endless_batches, validation_examples

    training = TrainingConfig.model_validate(config["training"])
    lake = Lakehouse(config["lakehouse"])
    batch = lake.batches.get(config["batch_id"])
    context = train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(training.seed)
    inner = UserModel(UserModelConfig(layout=FeatureLayout.model_validate_json(batch.layout or "")))
    start = {name: value.detach().clone() for name, value in inner.named_parameters()}
    model = prepare_model(inner) if workers > 1 else inner
    items = Items(lake, batch)
    held_out = validation_examples(lake, batch, items)
    size = max(1, training.batch_size // workers)
    steps = steps_per_epoch(lake, batch, training.batch_size)
    trainer = Trainer(model, inner, training, steps * training.epochs, rank)
    batches = endless_batches(
        train.get_dataset_shard("train"),
        items,
        size,
        np.random.default_rng([training.seed, rank, 1]),
    )

    def aucs() -> np.ndarray:
        return held_out_aucs(inner, held_out, items.tables, training.seed)

    history: list[dict[str, float | None]] = []
    for epoch in range(1, training.epochs + 1):
        loss = _epoch(trainer, batches, items, steps)
        if rank == 0:
            scores = aucs()
            auc = float(scores.mean()) if len(scores) else None
            history.append({"epoch": epoch, "loss": loss, "auc": auc})
            said = "nobody is held out" if auc is None else f"AUC of held-out users {auc:.4f}"
            print(f"train: epoch {epoch} of {training.epochs}, loss {loss:.4f}, {said}")  # noqa: T201
    if rank == 0:
        _report(inner, {"history": history, **settle(inner, start, aucs)})
    else:
        train.report({})


def _epoch(trainer: Any, batches: Any, items: Any, steps: int) -> float:
    """Mean loss; every worker makes the same number of steps, whatever its share of the rows."""
    losses = []
    for _ in range(steps):
        examples = next(batches, None)
        if examples is None:
            raise BatchError("no training example has a target that other users know")
        losses.append(trainer.step(examples, items.tables[examples.fold]))
    return sum(losses) / steps


def _report(model: Any, metrics: dict[str, Any]) -> None:
    """Hand the model to the driver, once: a report takes Ray Train longer than an epoch."""
    from ray import train

    from models.checkpoint import save_model

    with tempfile.TemporaryDirectory() as folder:
        save_model(model, folder)
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def steps_per_epoch(lake: Lakehouse, batch: Batch, batch_size: int) -> int:
    """Steps in which every user that trains is seen once on average."""
    weight = lake.read("training_examples", batch, ["weight"])["weight"].to_numpy()
    return max(1, round(float(weight.sum()) / batch_size))


def forget_attempts(lake: Lakehouse, batch: Batch) -> None:
    """Remove what Ray Train keeps of its runs; the batch has its model in a folder of its own."""
    place = f"{lake.uri}/checkpoints/{batch.batch_id}"
    if lake.filesystem.exists(place):
        lake.filesystem.rm(place, recursive=True)


def keep_model(lake: Lakehouse, batch: Batch, result: Result, training: TrainingConfig) -> str:
    """Copy the weights to the batch's model folder; returns their SHA-256."""
    from models.checkpoint import load_model, save_model

    if result.checkpoint is None or result.metrics is None:
        raise BatchError("training ended without a model")
    with result.checkpoint.as_directory() as folder:
        model = load_model(str(Path(folder)))
    return save_model(
        model,
        lake.model_uri(batch.batch_id),
        batch_id=batch.batch_id,
        training=training.model_dump(mode="json"),
        **result.metrics,
    )


if __name__ == "__main__":
    main()
