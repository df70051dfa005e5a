import json
from pathlib import Path

import pytest

from models.early_stopping import EarlyStopping
from models.progress import Progress
from models.training import Trainer, TrainingConfig
from models.training_state import (
    STATE,
    TENSORS,
    TrainingState,
    random_state,
    save_state,
    steps_of,
)
from models.user_model import UserModel, UserModelConfig
from ray_apps.attempts import Attempts
from ray_apps.training_loop import _handed_over

SETTINGS = TrainingConfig(epochs=2)


@pytest.fixture
def attempts(world, tmp_path):
    return Attempts(str(tmp_path), world.batch, SETTINGS)


@pytest.fixture
def save(world, attempts):
    """Writes a checkpoint of so many steps, where Ray Train would; returns its folder."""

    def write(steps: int, attempt: str = "first") -> Path:
        return Path(_saved(world, attempts, steps, attempt))

    return write


def _saved(world, attempts: Attempts, steps: int, attempt: str) -> str:
    model = UserModel(UserModelConfig(layout=world.layout))
    trainer = Trainer(model, model, SETTINGS, 10)
    trainer.steps = steps
    folder = f"{attempts.uri}/{attempt}/checkpoint-{steps}"
    state = TrainingState(Progress(), EarlyStopping(0), [random_state(trainer.rng)])
    save_state(folder, trainer, state)
    return folder


def test_the_first_attempt_begins_at_the_beginning(attempts):
    assert attempts.newest() is None
    assert attempts.begin()[1] is None


def test_an_attempt_goes_on_from_the_checkpoint_that_is_farthest_on(attempts, save):
    save(9)
    farthest = save(12, "second")
    save(7, "third")
    name, checkpoint = attempts.begin()
    assert checkpoint == str(farthest)
    assert [place.name for place in Path(attempts.uri).iterdir()] == ["second"]  # what it needs
    assert name != "second"


@pytest.mark.parametrize("tear", ["no side-car", "half a side-car", "half of the tensors", "older"])
def test_a_checkpoint_whose_copy_broke_off_is_ignored(attempts, save, tear):
    whole, torn = save(3), save(8, "second")
    if tear == "no side-car":
        (torn / STATE).unlink()
    elif tear == "half a side-car":
        (torn / STATE).write_text((torn / STATE).read_text()[:40])
    elif tear == "half of the tensors":
        (torn / TENSORS).write_bytes((torn / TENSORS).read_bytes()[:1000])
    else:
        (torn / TENSORS).unlink()
    assert attempts.newest() == str(whole)


def test_other_settings_another_table_and_another_batch_begin_anew(world, save, tmp_path):
    save(3)
    batch = world.batch
    tables = {**batch.tables, "training_examples": 99}
    others = [
        Attempts(str(tmp_path), batch, SETTINGS.model_copy(update={"learning_rate": 0.1})),
        Attempts(str(tmp_path), batch.model_copy(update={"tables": tables}), SETTINGS),
        Attempts(str(tmp_path), batch.model_copy(update={"batch_id": "b2"}), SETTINGS),
    ]
    assert [other.newest() for other in others] == [None] * 3
    assert Attempts(str(tmp_path), batch, SETTINGS).newest() is not None


def test_what_is_forgotten_is_of_this_batch_alone(attempts, save, tmp_path):
    save(3)
    (tmp_path / "other").mkdir()
    attempts.forget()
    attempts.forget()
    assert [place.name for place in tmp_path.iterdir()] == ["other"]


def test_a_side_car_can_be_read_by_a_person(save):
    told = json.loads((save(3) / STATE).read_text())
    assert told["steps"] == 3


def test_checkpoints_in_an_object_store_are_found_and_handed_to_the_workers(world, s3_uri):
    attempts = Attempts(s3_uri, world.batch, SETTINGS)
    _saved(world, attempts, 3, "first")
    farthest = _saved(world, attempts, 8, "second")
    assert attempts.begin()[1] == farthest
    assert [place.split("/")[-3] for place in attempts.filesystem.find(s3_uri)] == ["second"] * 2
    with _handed_over(farthest).as_directory() as folder:
        assert steps_of(folder) == 8
    attempts.forget()
    assert attempts.newest() is None
