import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.codebook import Codebook
from models.layout import VECTOR_SIZE
from models.training import (
    SHARES,
    Examples,
    ItemTable,
    Trainer,
    TrainingConfig,
    _own,
    first_as_good,
    held_out_aucs,
    settle,
    validation_loss,
)

ITEMS, USERS = 40, 24


@pytest.fixture
def items() -> ItemTable:
    vectors = np.random.default_rng(0).standard_normal((ITEMS, VECTOR_SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ItemTable.of(vectors, np.ones(ITEMS), Codebook())


@pytest.fixture
def examples(feature_rows) -> Examples:
    """Users of one country go on to play the first items, those of the other the last."""
    features, present = feature_rows(*[{"taste_30d", "hour", "country"}] * USERS)
    targets = [np.arange(5) if row % 2 else np.arange(ITEMS - 5, ITEMS) for row in range(USERS)]
    column = features.shape[1] - 1
    features[::2, column], features[1::2, column] = 3.0, -3.0
    return Examples(features, present, targets, fold=0)


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


def test_the_validation_loss_is_the_same_each_time_and_falls(new_model, examples, items):
    model, config = new_model(), TrainingConfig(negatives=64)
    tables = {0: items}
    before = validation_loss(model, [examples], tables, config)
    assert validation_loss(model, [examples], tables, config) == before
    trained(model, examples, items, steps=60)
    assert validation_loss(model, [examples], tables, config) < 0.8 * before
    assert validation_loss(model, [], tables, config) is None


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


def test_an_unknown_setting_is_an_error():
    with pytest.raises(ValidationError, match="momentum"):
        TrainingConfig(momentum=0.9)
