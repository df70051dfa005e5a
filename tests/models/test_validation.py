import numpy as np
import pytest
import torch

from models.codebook import Codebook
from models.layout import VECTOR_SIZE
from models.training import Examples, ItemTable, Trainer, TrainingConfig
from models.user_model import SIZE
from models.validation import (
    SHARES,
    first_as_good,
    held_out_aucs,
    held_out_users,
    settle,
    validation_loss,
)
from tests.models.conftest import ITEMS, USERS


def test_the_validation_loss_is_the_same_each_time_and_falls(new_model, examples, items):
    model, config = new_model(), TrainingConfig(negatives=64)
    tables = {0: items}
    before = validation_loss(model, [examples], tables, config)
    assert validation_loss(model, [examples], tables, config) == before
    trainer = Trainer(model, model, config.model_copy(update={"learning_rate": 1e-2}), steps=60)
    for _ in range(60):
        trainer.step(examples, items)
    assert validation_loss(model, [examples], tables, config) < 0.8 * before
    assert validation_loss(model, [], tables, config) is None


class Oracle:
    """A model whose users are the items that they play next; or their opposites."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def eval(self) -> None: ...

    def users(self, features: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return self.sign * features

    def items(self, known: torch.Tensor) -> torch.Tensor:
        return known[:, :VECTOR_SIZE]


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, 0.0), (0, 0.5)])
def test_the_auc_of_a_perfect_a_reversed_and_an_indifferent_model(sign, expected):
    table = ItemTable.of(np.eye(ITEMS, VECTOR_SIZE, dtype=np.float32), np.ones(ITEMS), Codebook())
    users = torch.eye(USERS, VECTOR_SIZE)
    targets = [np.array([row]) for row in range(USERS)]
    batch = Examples(users, torch.ones(USERS, 1), targets, fold=3)
    found = held_out_aucs(Oracle(sign), [batch], {3: table}, seed=0)
    assert found.tolist() == [expected] * USERS


def test_the_auc_of_a_random_model_is_near_a_half(items):
    rng = np.random.default_rng(1)
    users = torch.from_numpy(rng.standard_normal((300, VECTOR_SIZE)).astype(np.float32))
    targets = [rng.integers(0, ITEMS, 3) for _ in range(300)]
    batch = Examples(users, torch.ones(300, 1), targets, fold=0)
    found = held_out_aucs(Oracle(), [batch], {0: items}, seed=0)
    assert found.shape == (300,)
    assert found.mean() == pytest.approx(0.5, abs=0.04)


def test_vectors_of_held_out_users_are_those_of_the_model(new_model, examples):
    model = new_model()
    found = held_out_users(model, [examples, examples])
    expected = model.users(examples.features, examples.present).detach().numpy()
    assert np.array_equal(found, np.concatenate([expected, expected]))
    assert held_out_users(model, []).shape == (0, SIZE)


@pytest.mark.parametrize("best", [0.0, 0.3, 1.0])
def test_a_model_settles_at_the_point_that_serves_held_out_users_best(new_model, best):
    model = new_model()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.data += 1.0

    def aucs() -> np.ndarray:
        way = float((model.mix - start["mix"]).detach().mean())
        return np.full(5, 1 - abs(way - best))

    found = settle(model, start, aucs)
    assert found["share"] == best
    assert found["line"] == pytest.approx([1 - abs(share - best) for share in SHARES], abs=1e-5)
    for name, value in model.named_parameters():
        assert torch.allclose(value, start[name] + best, atol=1e-5), name


def test_without_anybody_held_out_a_model_settles_where_it_began(new_model):
    model = new_model()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.mix.data += 1.0
    assert settle(model, start, lambda: np.zeros(0)) == {"share": 0.0, "line": []}
    assert torch.equal(model.mix, start["mix"])


def test_a_candidate_that_is_behind_by_no_more_than_chance_is_as_good():
    best = np.array([0.9, 0.5, 0.7, 0.5])
    by_chance = best - [0.3, -0.2, 0.1, -0.1]  # behind by 0.025, with an error of about 0.1
    surely = best - 0.02
    assert first_as_good(np.stack([surely, by_chance, best])) == 1
    assert first_as_good(np.stack([by_chance, surely, best])) == 0
    assert first_as_good(np.stack([surely, best, surely])) == 1
    assert first_as_good(np.zeros((3, 0))) == 0
