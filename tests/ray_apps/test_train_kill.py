"""A training that is killed, by its driver and by its worker, beside one that nobody disturbed."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from models.training import TrainingConfig
from models.training_state import steps_of
from ray_apps.attempts import Attempts
from ray_apps.train_user_model import main

pytestmark = [pytest.mark.ray, pytest.mark.whole, pytest.mark.timeout(1200)]

EPOCHS, STEPS = 8, 9  # of an epoch
TRAINING = TrainingConfig(epochs=EPOCHS, batch_size=64, learning_rate=1e-2, patience=0)
FLAGS = [
    *("--training.epochs", str(EPOCHS)),
    *("--training.batch-size", "64"),
    *("--training.learning-rate", "0.01"),
    *("--training.patience", "0"),
]
# By how much the last losses of five seeds differ; the first are about 8.
NOISE = 0.3


def told(world) -> dict:
    """What stands beside the model that training has left."""
    return json.loads((Path(world.batch.model_uri) / "model.json").read_text())


def curve(side_car: dict, name: str) -> np.ndarray:
    return np.array([entry[name] for entry in side_car["history"]])


def no_epoch_is_missing_or_doubled(side_car: dict) -> bool:
    return [entry["epoch"] for entry in side_car["history"]] == list(range(1, EPOCHS + 1))


def training_workers() -> list[int]:
    """Ray Train's workers among the processes that this one has started, directly or not."""
    parents, titles = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int(
                (place / "stat").read_text().rpartition(")")[2].split()[1]
            )
            titles[int(place.name)] = (place / "cmdline").read_bytes()
        except OSError:
            continue
    found = [pid for pid, title in titles.items() if b"RayTrainWorker" in title]
    return [pid for pid in found if os.getpid() in _ancestors(pid, parents)]


def _ancestors(pid: int, parents: dict[int, int]) -> list[int]:
    found = []
    while (pid := parents.get(pid, 0)) > 0:
        found.append(pid)
    return found


@pytest.fixture(scope="module")
def world(new_world):
    """Six hundred listeners: so many that there is something to learn."""
    return new_world(users=600)


@pytest.fixture(scope="module")
def undisturbed(world, ray_cluster):  # noqa: ARG001
    main([*world.argv, *FLAGS])
    return told(world)


@pytest.fixture(scope="module")
def driver_killed(world, ray_cluster, new_runs):  # noqa: ARG001
    """Killed with all it started at its first checkpoint; then the same command again."""
    argv = [*world.argv, *FLAGS, "--checkpoint-seconds", "0"]
    attempts = Attempts(f"{world.lake.uri}/checkpoints", world.batch, TRAINING)
    new_runs().kill_when(
        lambda: attempts.newest() is not None, "ray_apps/train_user_model.py", *argv
    )
    done = steps_of(attempts.newest())
    main(argv)
    return done, told(world)


@pytest.fixture(scope="module")
def two_workers(world, ray_cluster, tmp_path_factory):  # noqa: ARG001
    """Undisturbed, their checkpoints away from the lakehouse."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    main([*world.argv, *FLAGS, "--workers", "2", "--checkpoints", str(elsewhere)])
    assert list(elsewhere.iterdir()) == []
    return told(world)


@pytest.fixture(scope="module")
def worker_killed(world, ray_cluster):  # noqa: ARG001
    """Two workers, of which one is killed at the first checkpoint."""
    argv = [*world.argv, *FLAGS, "--checkpoint-seconds", "0", "--workers", "2"]
    attempts = Attempts(f"{world.lake.uri}/checkpoints", world.batch, TRAINING)
    killed: list[int] = []

    def kill() -> None:
        give_up = time.monotonic() + 300
        while attempts.newest() is None and time.monotonic() < give_up:
            time.sleep(0.01)
        for pid in training_workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    main(argv)
    killer.join()
    assert len(killed) == 1
    return told(world)


def test_a_training_whose_driver_is_killed_goes_on_from_its_last_checkpoint(
    undisturbed, driver_killed
):
    done, side_car = driver_killed
    assert 0 < done < EPOCHS * STEPS
    assert no_epoch_is_missing_or_doubled(side_car)
    # What was done before is what an undisturbed run has done, to the last digit.
    before = done // STEPS
    for name in ("loss", "validation_loss", "auc", "learning_rate"):
        assert curve(side_car, name)[:before].tolist() == curve(undisturbed, name)[:before].tolist()
    assert curve(side_car, "learning_rate").tolist() == curve(undisturbed, "learning_rate").tolist()


def test_a_worker_that_is_killed_is_replaced(worker_killed):
    assert no_epoch_is_missing_or_doubled(worker_killed)


@pytest.mark.parametrize("how", ["driver_killed", "two_workers", "worker_killed"])
def test_killed_or_spread_over_two_workers_it_reaches_the_same_losses(undisturbed, how, request):
    found = request.getfixturevalue(how)
    side_car = found[1] if how == "driver_killed" else found
    for name in ("loss", "validation_loss"):
        expected = curve(undisturbed, name)
        assert curve(side_car, name)[-3:].mean() == pytest.approx(expected[-3:].mean(), abs=NOISE)
        assert expected[0] > expected[-1] + 10 * NOISE  # so the bound tells who has learned


def test_nothing_of_the_attempts_is_left(world, driver_killed, worker_killed):  # noqa: ARG001
    assert not list(Path(world.lake.uri).glob("checkpoints/*"))
