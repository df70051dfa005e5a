import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lakehouse.batches import BatchRegistry
from lakehouse.steps import finished_steps
from models.checkpoint import load_model
from models.validation import SHARES
from ray_apps.train_user_model import (
    TrainUserModel,
    cpus_per_worker,
    main,
    scaling,
    steps_per_epoch,
)

EPOCHS = 2


@pytest.fixture(scope="module")
def trained(world, ray_cluster):  # noqa: ARG001
    """The batch after two epochs."""
    main([*world.argv, "--training.epochs", str(EPOCHS), "--training.batch-size", "16"])
    return world


@pytest.mark.ray
def test_the_batch_points_at_a_model_of_its_layout(trained):
    batch = trained.batch
    model = load_model(batch.model_uri, trained.layout)
    side_car = json.loads((Path(batch.model_uri) / "model.json").read_text())
    assert side_car["sha256"] == batch.model_sha256
    assert side_car["batch_id"] == batch.batch_id
    users = model.users(torch.from_numpy(trained.features), torch.from_numpy(trained.present))
    assert torch.isfinite(users).all()
    assert not list(Path(trained.lake.uri).glob("checkpoints/*"))  # Ray Train's own copies


@pytest.mark.ray
def test_how_training_went_is_kept_beside_the_model(trained):
    side_car = json.loads((Path(trained.batch.model_uri) / "model.json").read_text())
    history = side_car["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, EPOCHS + 1))
    for entry in history:
        assert np.isfinite(list(entry.values())).all()
        assert entry["validation_loss"] > 0
        assert 0 < entry["gradient_norm"] <= entry["highest_gradient_norm"]
        assert entry["users_per_second"] > 0
        assert 0 <= entry["waiting"] < 1
    assert side_car["share"] in SHARES
    assert len(side_car["line"]) == len(SHARES)
    assert side_car["line"][-1] == history[-1]["auc"]


@pytest.mark.ray
def test_the_step_is_written_down(trained):
    step = finished_steps(trained.lake, trained.batch_id)["train"]
    assert (step["rows_in"], step["rows_out"]) == (120, 1)
    assert len(step["detail"]["history"]) == EPOCHS


def test_an_epoch_sees_every_user_once_on_average(world):
    assert steps_per_epoch(world.lake, world.batch, 20) == 3
    assert steps_per_epoch(world.lake, world.batch, 10_000) == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_workers_leave_half_of_the_cpus_to_the_readers():
    assert cpus_per_worker(1) == 0.5
    assert cpus_per_worker(2) == 0.5
    assert 8 * cpus_per_worker(8) == 1.0  # of two


def test_a_batch_without_features_is_told_what_to_run(world, capsys):
    empty = world.registry.open(world.batch.as_of, {}, "s", "v")
    with pytest.raises(SystemExit) as ended:
        main(["--lakehouse", world.lake.uri, "--batch-id", empty.batch_id])
    assert ended.value.code == 4
    assert "run jobs/build_features.py" in capsys.readouterr().err


def test_a_finished_batch_is_not_trained_again(world, capsys):
    closed = world.registry.open(world.batch.as_of, {}, "s", "v")
    BatchRegistry(world.lake).record(closed.batch_id, state="candidate")
    with pytest.raises(SystemExit):
        main(["--lakehouse", world.lake.uri, "--batch-id", closed.batch_id])
    assert "only a batch that is building" in capsys.readouterr().err


@pytest.mark.ray
def test_workers_are_spread_over_hosts_and_those_with_gpus_are_not(ray_cluster):  # noqa: ARG001
    told = TrainUserModel(lakehouse="l", batch_id="b", workers=2)
    assert scaling(told).placement_strategy == "SPREAD"
    assert scaling(told).resources_per_worker == {"CPU": 0.5}
    with_gpus = scaling(told.model_copy(update={"gpus": True}))
    assert with_gpus.placement_strategy == "PACK"
    assert with_gpus.resources_per_worker == {"CPU": 0.5, "GPU": 1}
