import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from models.checkpoint import save_model
from models.layout import VECTOR_SIZE, build_layout
from models.predictor import UserPredictor


@pytest.fixture
def model(new_model):
    return new_model()


@pytest.fixture
def predictor(tmp_path, model, layout):
    save_model(model, str(tmp_path))
    return UserPredictor(str(tmp_path), layout)


@torch.no_grad()
def test_it_embeds_as_the_model_does(predictor, model, feature_rows):
    features, present = feature_rows({"taste_7d", "hour"}, {"country"}, set())
    found = predictor.embed(features.numpy(), present.numpy())
    assert found.dtype == np.float32
    assert_allclose(found, model.users(features, present), atol=1e-6)


def test_many_rows_are_embedded_as_one_is(predictor, feature_rows):
    features, present = (part.numpy() for part in feature_rows(*[{"taste_7d", "creators"}] * 9))
    together = predictor.embed(features, present)
    alone = [
        predictor.embed(features[row : row + 1], present[row : row + 1])[0] for row in range(9)
    ]
    assert_allclose(together, np.stack(alone), atol=1e-5)


def test_no_rows_give_no_vectors(predictor, layout):
    empty = np.zeros((0, layout.width), np.float32)
    assert predictor.embed(empty, np.zeros((0, len(layout.groups)), np.float32)).shape == (0, 128)


def test_items_lie_on_the_users_sphere(predictor, feature_rows, layout):
    features, present = (part.numpy() for part in feature_rows({"taste_7d"}))
    own = features[:, layout["taste_7d"].slice]
    items = predictor.place_items(np.vstack([own, -own]), np.zeros(2))
    assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-5)
    assert_allclose(items @ predictor.embed(features, present)[0], [1, -1], atol=1e-3)


def test_items_may_be_a_part_of_a_larger_matrix(predictor):
    larger = np.random.default_rng(0).standard_normal((6, VECTOR_SIZE)).astype(np.float32)
    plays = np.arange(6)
    assert_allclose(
        predictor.place_items(larger[::2], plays[::2]),
        predictor.place_items(larger, plays)[::2],
        atol=1e-6,
    )


def test_only_history_makes_a_user_established(predictor, feature_rows):
    _, present = feature_rows({"amounts", "hour"}, {"onboarding", "country"}, set(), {"taste_180d"})
    found = predictor.status(present.numpy()).tolist()
    assert found == ["established", "cold_start", "cold_start", "established"]


def test_rows_of_another_layout_are_refused_before_any_is_embedded(tmp_path, model):
    save_model(model, str(tmp_path))
    with pytest.raises(ValueError, match="another layout"):
        UserPredictor(str(tmp_path), build_layout({}))
