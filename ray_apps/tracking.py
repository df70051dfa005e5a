"""What MLflow is told of a training, where somebody runs MLflow."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from typing import Any

from schemas.stores import filesystem_of

EXPERIMENT = "tasteprint"


def tracking_wanted() -> bool:
    """Whether the extra ``tracking`` is installed, and ``MLFLOW_TRACKING_URI`` says where to."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) and (
        importlib.util.find_spec("mlflow") is not None
    )


def track(batch_id: str, training: dict[str, Any], told: dict[str, Any], model_uri: str) -> None:
    """Log settings, the learning curve and the model's folder as one run.

    It is written when training has ended, from the whole curve, so that a training which was
    killed on the way is one run of MLflow, and no epoch is there twice. ``MLFLOW_EXPERIMENT_NAME``
    names the experiment.

    Args:
        batch_id: names the run.
        training: the settings.
        told: ``history``, and numbers about the end.
        model_uri: folder of weights and side-car.
    """
    import mlflow

    if "MLFLOW_EXPERIMENT_NAME" not in os.environ:
        mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=batch_id, tags={"batch_id": batch_id}):
        mlflow.log_params(training)
        for entry in told["history"]:
            measured = {name: value for name, value in entry.items() if value is not None}
            mlflow.log_metrics(measured, step=int(measured.pop("epoch")))
        mlflow.log_metric("share", told["share"])
        with tempfile.TemporaryDirectory() as folder:
            filesystem, path = filesystem_of(model_uri)
            filesystem.get(f"{path}/", f"{folder}/", recursive=True)
            mlflow.log_artifacts(folder, "model")
