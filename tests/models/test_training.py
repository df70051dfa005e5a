import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.codebook import Codebook
from models.layout import VECTOR_SIZE
from models.training import (
    Examples,
    ItemTable,
    Trainer,
    TrainingConfig,
    _own,
)
from models.validation import held_out_aucs
from tests.models.conftest import ITEMS, USERS


def trained(model, examples, items, steps: int = 2, **changes) -> list[float]:
    config = TrainingConfig(**{"negatives": 64, "learning_rate": 1e-2, **changes})
    torch.manual_seed(0)
    trainer = Trainer(model, model, config, steps)
    return [trainer.step(examples, items) for _ in range(steps)]


def test_the_loss_falls(new_model, examples, items):
    losses = trained(new_model(), examples, items, steps=60)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_what_was_learned_tells_the_next_plays(new_model, examples, items):
    model = new_model()
    before = held_out_aucs(model, [examples], {0: items}, seed=0).mean()
    trained(model, examples, items, steps=60)
    assert held_out_aucs(model, [examples], {0: items}, seed=0).mean() > before + 0.2


def test_the_same_seed_gives_the_same_model(new_model, examples, items):
    assert trained(new_model(), examples, items, 3) == trained(new_model(), examples, items, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 5e-3},
        {"weight_decay": 0.5},
        {"targets": 1},
        {"negatives": 8},
        {"hide": 0.9},
        {"ranking": 1.0},
        {"reconstruction": 0.0},
        {"precision": "bfloat16"},
        {"accumulate": 2},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_changes_what_is_learned(new_model, examples, items, change):
    one, other = new_model(), new_model()
    trained(one, examples, items)
    trained(other, examples, items, **change)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(left, right) for left, right in pairs)


def test_gradients_of_parts_add_up_to_those_of_the_whole(new_model, examples, items):
    """Nearly: each part draws targets and negatives of its own, here many; nothing is hidden."""
    gradients, norms = [], []
    for parts in (1, 4):
        model = new_model()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        config = TrainingConfig(negatives=4096, targets=64, hide=0.0, accumulate=parts)
        trainer = Trainer(model, model, config, 1)
        trainer.step(examples, items)
        gradients.append(torch.cat([value.grad.flatten() for value in model.parameters()]))
        norms.append(trainer.gradient_norm)
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.97
    assert norms[1] == pytest.approx(norms[0], rel=0.03)


def test_examples_are_cut_into_parts_that_lose_nobody(examples):
    parts = examples.parts(5)
    assert [len(part) for part in parts] == [4, 5, 5, 5, 5]
    assert torch.equal(torch.cat([part.features for part in parts]), examples.features)
    assert [own for part in parts for own in part.targets] == list(examples.targets)
    assert len(examples.parts(1000)) == USERS


def test_a_loss_in_half_precision_is_near_that_in_full(new_model, examples, items):
    full = trained(new_model(), examples, items, steps=20, precision="float32")
    half = trained(new_model(), examples, items, steps=20, precision="bfloat16")
    assert half == pytest.approx(full, rel=0.05)
    assert trained(new_model(), examples, items, steps=20) == full  # of itself on a GPU alone


def test_the_norm_of_the_gradient_is_that_before_it_is_cut(new_model, examples, items):
    model = new_model()
    trainer = Trainer(model, model, TrainingConfig(negatives=64), 1)
    trainer.step(examples, items)
    cut = torch.cat([value.grad.flatten() for value in model.parameters()]).norm()
    assert float(cut) == pytest.approx(min(1.0, trainer.gradient_norm), rel=1e-3)
    assert trainer.gradient_norm > 0


def test_more_steps_than_were_announced_do_not_break_the_schedule(new_model, examples, items):
    model = new_model()
    trainer = Trainer(model, model, TrainingConfig(negatives=8), steps=2)
    losses = [trainer.step(examples, items) for _ in range(14)]
    assert np.isfinite(losses).all()


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.integers(0, 9), max_size=12),
)
def test_what_a_user_plays_next_is_never_his_negative(targets, drawn):
    own = _own([np.array(some) for some in targets], np.array(drawn, np.int64))
    assert own.tolist() == [[item in some for item in drawn] for some in targets]


def test_targets_do_not_enter_the_loss_as_negatives(new_model, examples):
    """Where every drawn item is a target, only the reconstruction is left."""
    vectors = np.eye(ITEMS, VECTOR_SIZE, dtype=np.float32)
    only_targets = np.zeros(ITEMS)
    only_targets[:5] = 1
    table = ItemTable.of(vectors, only_targets, Codebook())
    alike = Examples(examples.features, examples.present, [np.arange(5)] * USERS, fold=0)
    model = new_model()
    trainer = Trainer(model, model, TrainingConfig(negatives=16, reconstruction=0.0), 1)
    assert float(trainer.loss(alike, table).detach()) == 0


def test_items_are_drawn_in_proportion_to_their_plays():
    table = ItemTable.of(np.zeros((4, VECTOR_SIZE), np.float32), np.array([0, 1, 0, 3]), Codebook())
    drawn = np.bincount(table.draw(10_000, np.random.default_rng(0)), minlength=4) / 10_000
    assert drawn[[0, 2]].tolist() == [0, 0]
    assert drawn[3] == pytest.approx(0.75, abs=0.02)
    assert table.played.tolist() == [False, True, False, True]


def test_an_unknown_setting_is_an_error():
    with pytest.raises(ValidationError, match="momentum"):
        TrainingConfig(momentum=0.9)
