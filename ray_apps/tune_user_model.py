"""Search for better settings of the user model with Ray Tune.

::

    python ray_apps/tune_user_model.py --lakehouse URI --batch-id ID --out DIR --trials 30
    ray job submit --working-dir . -- python ray_apps/tune_user_model.py …

The settings as given are tried first; each other trial draws its own from ``SPACE``. It trains on
the batch's tables with the loop of ``train_user_model.py``, on a fraction of a CPU. What counts is
the AUC of users who are held out of fitting, after the model has settled. Trials that are behind
others at the same epoch are ended (ASHA, Li et al., A System for Massively Parallel Hyperparameter
Tuning, MLSys 2020): early epochs have a high learning rate and tell less than the last, so none is
ended before a third of them.

The same command goes on with a search that was killed; every trial goes on from its last epoch.
Tune keeps its own state of the search pickled in ``OUT/search``: go on with searches of your own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import Field

from lakehouse.storage import Lakehouse
from models.training import TrainingConfig
from ray_apps.session import ray_session
from ray_apps.train_user_model import cpus_per_worker, steps_per_epoch, training_rows
from schemas.errors import BatchError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.tune import Callback, ResultGrid, Tuner
    from ray.tune.experiment import Trial

    from ray_apps.training_loop import TrainingLoop

METRIC = "kept_auc"
SEARCH = "search"  # Tune's own folder below --out
# How each setting is drawn: between two bounds, evenly or on a logarithmic scale, or one of some.
SPACE: dict[str, tuple[str, Any]] = {
    "learning_rate": ("loguniform", (1e-4, 1e-2)),
    "weight_decay": ("loguniform", (1e-4, 1e-1)),
    "batch_size": ("choice", (64, 128, 256)),
    "targets": ("choice", (2, 4, 8)),
    "negatives": ("choice", (128, 256, 512)),
    "hide": ("uniform", (0.1, 0.5)),
    "reconstruction": ("loguniform", (1e-3, 1.0)),
    "ranking": ("loguniform", (1.0, 20.0)),
}


class TuneUserModel(Settings):
    """Search for better settings of the user model with Ray Tune."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch, whose features are built; its model is left alone."""
    out: str
    """Folder for the table of trials, and for what a search goes on from."""
    trials: int = Field(default=20, ge=1)
    """Settings to try."""
    concurrent: int = Field(default=2, ge=1)
    """Trials at a time."""
    dry_run: bool = False
    """Print the space, and try nothing."""
    training: TrainingConfig = TrainingConfig()
    """What is not searched, for example --training.epochs 5; the seed is also the search's."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Try settings, print them best first, and write them down."""
    args = TuneUserModel.parse(argv)
    if args.dry_run:
        for name, (how, values) in SPACE.items():
            sys.stdout.write(f"{name}: {how} {', '.join(f'{value:g}' for value in values)}\n")
        return
    lake = Lakehouse(args.lakehouse)
    batch = lake.batches.get(args.batch_id)
    if batch.layout is None:
        raise BatchError(f"batch {batch.batch_id} has no features yet: run jobs/build_features.py")
    with ray_session(show_workers=True):
        table = as_table(search(args).fit())
    keep(table, Path(args.out))
    sys.stdout.write(f"{table.to_string(index=False, float_format='{:.4g}'.format)}\n")


def search(args: TuneUserModel) -> Tuner:
    """A search that has not begun, or the one that was broken off in that folder."""
    from ray import tune

    path = str((Path(args.out) / SEARCH).resolve())
    concurrent = min(args.concurrent, args.trials)
    told = {"lakehouse": Lakehouse(args.lakehouse).uri, "batch_id": args.batch_id}
    fixed = tune.with_parameters(trial, told=told, training=args.training.model_dump())
    trainable = tune.with_resources(fixed, {"CPU": cpus_per_worker(concurrent)})
    if tune.Tuner.can_restore(path):
        return tune.Tuner.restore(path, trainable, resume_errored=True, param_space=drawn_from())
    return tune.Tuner(
        trainable,
        param_space=drawn_from(),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=args.trials,
            search_alg=tune.search.BasicVariantGenerator(
                max_concurrent=concurrent,  # TuneConfig's own is not heard beside a search_alg
                points_to_evaluate=[args.training.model_dump(include=set(SPACE))],
                random_state=args.training.seed,
            ),
            scheduler=tune.schedulers.ASHAScheduler(
                time_attr="epoch",
                max_t=args.training.epochs,
                grace_period=max(1, args.training.epochs // 3),
            ),
        ),
        run_config=tune.RunConfig(
            name=SEARCH,
            storage_path=str(Path(args.out).resolve()),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
            callbacks=[_said_of_trials(args.trials)],
        ),
    )


def _said_of_trials(count: int) -> Callback:
    """Says what each trial has reached, when it ends, and what the best has."""
    from ray import tune

    class Said(tune.Callback):
        def on_trial_complete(
            self,
            iteration: int,  # noqa: ARG002 - Tune passes it by name
            trials: list[Trial],
            trial: Trial,
            **_: Any,
        ) -> None:
            ended = [one for one in trials if one is trial or one.is_finished()]
            best = max(one.last_result.get(METRIC, 0.0) for one in ended)
            own = ", ".join(f"{name} {value:.3g}" for name, value in trial.config.items())
            sys.stdout.write(
                f"tune: {len(ended)} of {count}: {own}: AUC {trial.last_result[METRIC]:.4f} after "
                f"epoch {trial.last_result['epoch']}; the best has {best:.4f}\n"
            )

    return Said()


def drawn_from() -> dict[str, Any]:
    """``SPACE`` as Tune takes it."""
    from ray import tune

    ways = {"loguniform": tune.loguniform, "uniform": tune.uniform}
    return {
        name: tune.choice(list(values)) if how == "choice" else ways[how](*values)
        for name, (how, values) in SPACE.items()
    }


def trial(config: dict[str, Any], told: dict[str, str], training: dict[str, Any]) -> None:
    """Train with some settings; each epoch is reported, and can be gone on from.

    Args:
        config: what was drawn from the space.
        told: ``lakehouse`` and ``batch_id``.
        training: the settings that are not searched.
    """
    import torch
    from ray import tune

    from ray_apps.session import quiet_data
    from ray_apps.surroundings import Surroundings
    from ray_apps.training_loop import TrainingLoop

    quiet_data()
    lake = Lakehouse(told["lakehouse"])
    batch = lake.batches.get(told["batch_id"])
    chosen = {**training, **config}
    loop = TrainingLoop(
        {
            **told,
            "training": chosen,
            "steps_per_epoch": steps_per_epoch(lake, batch, chosen["batch_size"]),
            "checkpoint_seconds": float("inf"),  # saved here, after each epoch
        },
        Surroundings(
            shard=training_rows(lake, batch).iterator(),
            report=lambda metrics, checkpoint: tune.report(metrics, checkpoint=checkpoint),
            device=torch.device("cpu"),
        ),
    )
    loop.go_on_from(tune.get_checkpoint())
    while not loop.finished:
        loop.step()
        if loop.progress.steps == 0:
            loop.save(**{**loop.progress.history[-1], METRIC: kept_auc(loop) or 0.0})


def kept_auc(loop: TrainingLoop) -> float | None:
    """The AUC of held-out users now; after the last epoch that of the model that would be kept."""
    if not loop.finished:
        return loop.progress.history[-1]["auc"]
    _, settled = loop.settled()
    return settled["line"][round(settled["share"] * 10)] if settled["line"] else None


def as_table(results: ResultGrid) -> pd.DataFrame:
    """One row per trial, the best first: its settings, how far it went, and what it reached.

    A trial that was ended early stands with its last epoch, after all that went to the end.
    """
    rows = []
    for result in results:
        metrics = result.metrics or {}
        measured = {name: metrics.get(name) for name in (METRIC, "epoch", "validation_loss")}
        failed = str(result.error) if result.error else None
        rows.append({**measured, **(result.config or {}), "error": failed})
    order = ["epoch", METRIC, "validation_loss"]
    return pd.DataFrame(rows).sort_values(order, ascending=[False, False, True])


def keep(table: pd.DataFrame, out: Path) -> None:
    """Write the trials as JSON and as Parquet."""
    out.mkdir(parents=True, exist_ok=True)
    rows = json.loads(table.to_json(orient="records"))
    (out / "trials.json").write_text(json.dumps(rows, indent=1))
    table.to_parquet(out / "trials.parquet", index=False)


if __name__ == "__main__":
    main()
