import json

import numpy as np
import pytest
import torch

from models.early_stopping import EarlyStopping
from models.progress import Progress
from models.training import Examples, Trainer, TrainingConfig
from models.training_state import (
    STATE,
    TENSORS,
    TrainingState,
    load_state,
    random_state,
    restore_random,
    save_state,
    steps_of,
)
from tests.models.conftest import ITEMS, USERS

STEPS = 60
CONFIG = TrainingConfig(negatives=64, learning_rate=1e-2)


@pytest.fixture
def examples(feature_rows) -> Examples:
    features, present = feature_rows(*[{"taste_30d", "hour", "country", "amounts"}] * USERS)
    rng = np.random.default_rng(0)
    return Examples(features, present, [rng.integers(0, ITEMS, 5) for _ in range(USERS)], fold=0)


@pytest.fixture
def trainer(new_model):
    """Makes a trainer of the same settings, its model from another seed."""

    def make(seed: int = 0) -> Trainer:
        model = new_model(seed)
        return Trainer(model, model, CONFIG, STEPS)

    return make


def saved(folder, trainer: Trainer, **changes) -> TrainingState:
    state = {
        "progress": Progress(),
        "stopping": EarlyStopping(CONFIG.patience),
        "random": [random_state(trainer.rng)],
    }
    made = TrainingState(**{**state, **changes})
    save_state(str(folder), trainer, made)
    return made


def test_a_restored_trainer_takes_the_very_steps_of_one_that_was_never_stopped(
    tmp_path, trainer, examples, items
):
    one = trainer()
    for _ in range(5):
        one.step(examples, items)
    saved(tmp_path, one)
    losses = [one.step(examples, items) for _ in range(5)]

    other = trainer(seed=1)
    torch.manual_seed(99)
    other.rng.random(7)
    state = load_state(str(tmp_path), other)
    restore_random(state.random[0], other.rng)
    assert other.steps == 5
    assert [other.step(examples, items) for _ in range(5)] == losses
    for (name, left), right in zip(
        one.inner.state_dict().items(), other.inner.state_dict().values(), strict=True
    ):
        assert torch.equal(left, right), name
    rates = [[group["lr"] for group in of.optimizer.param_groups] for of in (one, other)]
    assert rates[0] == rates[1]


def test_progress_and_the_best_epoch_come_back(tmp_path, trainer, new_model):
    progress = Progress(epochs=3, steps=2, sums={"loss": 0.1}, history=[{"epoch": 1}])
    stopping = EarlyStopping(CONFIG.patience)
    stopping.see(2, np.array([0.25, 0.5]), new_model(3))
    saved(tmp_path, trainer(), progress=progress, stopping=stopping)
    found = load_state(str(tmp_path), trainer(1))
    assert found.progress == progress
    assert found.stopping.epoch == 2
    assert found.stopping.aucs.tolist() == [0.25, 0.5]
    for name, value in new_model(3).state_dict().items():
        assert torch.equal(found.stopping.weights[name], value), name


def test_every_workers_random_numbers_are_kept(tmp_path, trainer):
    rngs = [np.random.default_rng(rank) for rank in range(3)]
    saved(tmp_path, trainer(), random=[random_state(rng) for rng in rngs])
    found = load_state(str(tmp_path), trainer()).random
    for rank, rng in enumerate(rngs):
        again = np.random.default_rng(99)
        restore_random(found[rank], again)
        assert again.random() == rng.random()


def test_a_state_is_whole_or_it_does_not_count(tmp_path, trainer):
    assert steps_of(str(tmp_path)) is None
    saved(tmp_path, trainer())
    assert steps_of(str(tmp_path)) == 0
    content = (tmp_path / TENSORS).read_bytes()
    (tmp_path / TENSORS).write_bytes(content[:-1])
    assert steps_of(str(tmp_path)) is None
    with pytest.raises(ValueError, match="no whole state"):
        load_state(str(tmp_path), trainer())


def test_nothing_but_tensors_and_json_is_written(tmp_path, trainer, examples, items):
    made = trainer()
    made.step(examples, items)
    saved(tmp_path, made)
    assert sorted(place.name for place in tmp_path.iterdir()) == [STATE, TENSORS]
    raw = (tmp_path / TENSORS).read_bytes()
    assert json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads((tmp_path / STATE).read_text())["steps"] == 1
