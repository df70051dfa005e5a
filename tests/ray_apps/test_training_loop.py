"""The loop of a worker, without Ray: the shard is read from the table, and reports are kept."""

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from ray.train import Checkpoint

from models.checkpoint import load_model
from models.training import TrainingConfig
from ray_apps.surroundings import Surroundings
from ray_apps.training_loop import MODEL, TrainingLoop

EPOCHS, STEPS = 4, 9  # of an epoch


@pytest.fixture(autouse=True)
def _one_thread():
    """As Ray gives a worker; several, on cores that others use, wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(new_world):
    return new_world(users=600)


@pytest.fixture
def new_loop(world, tmp_path):
    """Makes a loop; ``reports`` are pairs of metrics and the folder of a checkpoint."""
    examples = world.lake.dataset("training_examples", world.batch)
    rows = examples.to_table(filter=~pc.field("validation"))

    def make(checkpoint_seconds: float = float("inf"), **training) -> TrainingLoop:
        reports: list[tuple[dict, str]] = []

        def report(metrics: dict, checkpoint: Checkpoint) -> None:
            kept = tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}"
            shutil.copytree(checkpoint.path, kept)
            reports.append((metrics, str(kept)))

        config = {
            "lakehouse": world.lake.uri,
            "batch_id": world.batch_id,
            "training": TrainingConfig(
                **{"epochs": EPOCHS, "batch_size": 64, "learning_rate": 1e-2, **training}
            ).model_dump(),
            "steps_per_epoch": STEPS,
            "checkpoint_seconds": checkpoint_seconds,
        }
        shard = SimpleNamespace(iter_batches=lambda **_: iter([rows]))
        made = TrainingLoop(config, Surroundings(shard, report, torch.device("cpu")))
        made.reports = reports
        return made

    return make


def run(loop: TrainingLoop, checkpoint: str | None = None) -> TrainingLoop:
    loop.go_on_from(checkpoint and Checkpoint(checkpoint))
    while not loop.finished:
        loop.step()
    loop.keep()
    return loop


def test_a_loop_that_goes_on_within_an_epoch_ends_with_the_whole_curve(new_loop):
    whole = run(new_loop(checkpoint_seconds=1e-9))
    assert len(whole.reports) == EPOCHS * STEPS  # after each step, and the last with the model
    _, within = whole.reports[STEPS + 3]
    resumed = run(new_loop(), within)
    assert resumed.trainer.steps == EPOCHS * STEPS
    for name in ("epoch", "learning_rate"):
        curves = [[entry[name] for entry in loop.progress.history] for loop in (whole, resumed)]
        assert curves[0] == curves[1]
    assert resumed.progress.history[0] == whole.progress.history[0]


def test_a_loop_that_had_ended_settles_again_and_comes_to_the_same_model(new_loop):
    first = run(new_loop())
    metrics, folder = first.reports[-1]
    again, copy = run(new_loop(), folder).reports[-1]
    assert metrics == again
    pairs = zip(
        load_model(f"{folder}/{MODEL}").parameters(),
        load_model(f"{copy}/{MODEL}").parameters(),
        strict=True,
    )
    assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize(("seconds", "checkpoints"), [(0, EPOCHS), (float("inf"), 1)])
def test_checkpoints_come_after_so_many_seconds_or_after_each_epoch(new_loop, seconds, checkpoints):
    assert len(run(new_loop(checkpoint_seconds=seconds)).reports) == checkpoints


def test_training_stops_when_held_out_users_gain_nothing_any_more(new_loop):
    loop = run(new_loop(epochs=12, patience=2))
    (metrics, folder) = loop.reports[-1]
    assert len(metrics["history"]) < 12
    assert metrics["best_epoch"] == len(metrics["history"]) - 2
    # The weights of the best epoch are at the end of the line.
    best = metrics["history"][metrics["best_epoch"] - 1]["auc"]
    assert metrics["line"][-1] == pytest.approx(best)
    assert np.isfinite(metrics["share"])
    assert load_model(f"{folder}/{MODEL}")


def test_an_ended_training_stays_ended(new_loop):
    stopped = run(new_loop(epochs=12, patience=2))
    _, folder = stopped.reports[-1]
    assert run(new_loop(epochs=12, patience=2), folder).trainer.steps == stopped.trainer.steps
