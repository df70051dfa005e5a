import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError

from models.codebook import ITEM_SIZE
from models.layout import INTERESTS, VECTOR_SIZE
from models.user_model import (
    INTERESTS_START,
    SIZE,
    USER_POPULARITY,
    UserModel,
    UserModelConfig,
    reconstruction_loss,
)

VECTOR_GROUPS = ["taste_7d", "taste_30d", "taste_180d", "creators", "onboarding"]


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    return left @ (right / np.linalg.norm(right, axis=1, keepdims=True)).T


def item_rows(count: int = 6) -> torch.Tensor:
    """Items of equal length that are played as often as the mean."""
    rows = torch.randn(count, ITEM_SIZE, generator=torch.Generator().manual_seed(1))
    vectors, codes = rows[:, :VECTOR_SIZE], rows[:, VECTOR_SIZE:-1]
    parts = (torch.nn.functional.normalize(part, dim=1) for part in (vectors, codes))
    return torch.cat([*parts, torch.zeros(count, 1)], dim=1)


def shaken(model):
    """The model as training might leave it: nothing is zero any more."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize(
    "known", [VECTOR_GROUPS[:1], VECTOR_GROUPS[4:], VECTOR_GROUPS[2:4], VECTOR_GROUPS]
)
@torch.no_grad()
def test_before_training_a_user_is_the_average_and_interests_beside_it(
    new_model, feature_rows, layout, known
):
    features, present = feature_rows({*known, "hour", INTERESTS}, {*known, "amounts"})
    users, items = new_model()(features, present, item_rows())
    average = np.mean([features[:, layout[name].slice].numpy() for name in known], axis=0)
    interests = INTERESTS_START * features[:, layout[INTERESTS].slice].numpy()
    common = np.full((2, 1), USER_POPULARITY)
    expected = cosine(np.concatenate([average, interests, common], axis=1), item_rows().numpy())
    assert_allclose(users @ items.T, expected, atol=1e-5)


@torch.no_grad()
def test_who_has_told_nothing_is_offered_what_is_popular(new_model, feature_rows):
    items = item_rows()
    items[:, -1] = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, -2.0])
    users, places = new_model()(*feature_rows(set()), items)
    assert (users @ places.T)[0].argsort(descending=True).tolist() == [2, 4, 0, 3, 1, 5]


@torch.no_grad()
def test_of_two_items_alike_the_more_popular_comes_first(new_model, feature_rows):
    items = item_rows(1).repeat(2, 1)
    items[1, -1] = 0.1
    users, places = new_model()(*feature_rows({"country"}), items)
    assert places[1] @ users[0] > places[0] @ users[0]


@torch.no_grad()
def test_users_and_items_have_length_one_trained_or_not(new_model, feature_rows):
    features, present = feature_rows(set(VECTOR_GROUPS), {"country"}, set(), {"onboarding", "age"})
    for model in (new_model(), shaken(new_model())):
        for rows in model(features, present, item_rows()):
            assert rows.shape[1] == 128
            assert_allclose(rows.norm(dim=1), 1, atol=1e-5)


@torch.no_grad()
def test_a_user_with_nothing_gets_a_vector_of_his_own(new_model, feature_rows):
    features, present = feature_rows(set(), set())
    users = new_model().users(features, present)
    assert torch.isfinite(users).all()
    assert_allclose(users.norm(dim=1), 1, atol=1e-5)
    assert_allclose(users[0], users[1], atol=1e-6)


@torch.no_grad()
def test_what_stands_in_a_hidden_group_does_not_matter(new_model, feature_rows, layout):
    features, present = feature_rows(set(VECTOR_GROUPS) | {"hour", "amounts"})
    model = shaken(new_model())
    for name in ("taste_7d", "creators", "hour", "amounts"):
        hidden = present.clone()
        hidden[:, layout.names.index(name)] = 0
        other = features.clone()
        other[:, layout[name].slice] = 3.0
        assert_allclose(model.users(other, hidden), model.users(features, hidden), atol=1e-5)
        assert not np.allclose(
            model.users(features, present), model.users(features, hidden), atol=1e-5
        )


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours(new_model, feature_rows):
    features, present = feature_rows(set(VECTOR_GROUPS), {"country"}, {"onboarding"})
    model = shaken(new_model())
    together = model.users(features, present)
    for row in range(3):
        alone = model.users(features[row : row + 1], present[row : row + 1])
        assert_allclose(alone[0], together[row], atol=1e-5)


@torch.no_grad()
def test_the_same_seed_makes_the_same_model(new_model):
    first, same, other = (new_model(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@torch.no_grad()
def test_every_group_is_reconstructed_at_its_width(new_model, feature_rows, layout):
    features, present = feature_rows(set(layout.names), set())
    decoded = new_model().decode(new_model().users(features, present))
    widths = {group.name: group.width for group in layout.groups}
    assert {name: tuple(rows.shape) for name, rows in decoded.items()} == {
        name: (2, width) for name, width in widths.items()
    }


@pytest.mark.parametrize("name", ["taste_30d", "amounts", "hour", "country"])
def test_a_good_reconstruction_costs_less_than_a_bad_one(feature_rows, layout, name):
    group = layout[name]
    values = feature_rows({name}, {name})[0][:, group.slice]
    # The columns of shares are decoded before the softmax.
    good = values if group.kind in ("vector", "amounts") else values.log()
    costs = [reconstruction_loss(group, decoded, values) for decoded in (good, -good)]
    assert costs[0].shape == (2,)
    assert (costs[0] < costs[1]).all()
    if group.kind in ("vector", "amounts"):
        assert_allclose(costs[0], 0, atol=1e-6)


def test_an_unknown_setting_is_an_error(layout):
    with pytest.raises(ValidationError, match="depth"):
        UserModelConfig(layout=layout, depth=3)


def test_hidden_layers_may_be_many_and_a_side_car_may_say_one_width_alone(layout, feature_rows):
    deep = UserModel(UserModelConfig(layout=layout, hidden=(16, 8))).eval()
    assert [part.out_features for part in deep.user_net if isinstance(part, torch.nn.Linear)] == [
        16,
        8,
        SIZE,
    ]
    assert deep.users(*feature_rows({"taste_7d"})).shape == (1, SIZE)
    assert UserModelConfig.model_validate({"layout": layout, "hidden": 64}).hidden == (64,)
    with pytest.raises(ValidationError):
        UserModelConfig(layout=layout, hidden=())
