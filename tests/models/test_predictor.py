import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from models.checkpoint import save_model
from models.layout import VECTOR_SIZE, build_layout
from models.predictor import COPIES, FEWEST_ROWS, ByOneDnn, UserPredictor, has_onednn


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


def test_how_many_are_computed_at_once_changes_no_vector(predictor, feature_rows):
    features, present = (part.numpy() for part in feature_rows(*[{"taste_7d", "creators"}] * 70))
    whole = predictor.embed(features, present)
    for size in (1, 32, 69, 70):
        predictor.rows_at_once = size
        assert_allclose(predictor.embed(features, present), whole, atol=1e-6)


def test_the_fastest_number_of_rows_within_memory_is_kept(predictor, feature_rows, layout):
    features, present = (part.numpy() for part in feature_rows(*[{"taste_7d"}] * 300))
    row = 4 * COPIES * layout.width  # bytes
    speeds = predictor.choose_rows_at_once(features, present, memory=280 * row)
    assert list(speeds) == [128, 256]
    assert predictor.rows_at_once == max(speeds, key=speeds.get)
    assert list(predictor.choose_rows_at_once(features, present, memory=5 * row)) == [5]


def test_bfloat16_keeps_directions(tmp_path, model, feature_rows):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.user_net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_model(model, str(tmp_path / "shaken"))
    exact, rough = (
        UserPredictor(str(tmp_path / "shaken"), precision=precision)
        for precision in ("float32", "bfloat16")
    )
    features, present = (part.numpy() for part in feature_rows(*[{"taste_7d", "hour"}] * 20))
    vectors = exact.embed(features, present)
    close = rough.embed(features, present)
    assert not np.array_equal(vectors, close)
    assert_allclose((vectors * close).sum(axis=1), 1, atol=1e-4)
    assert_allclose(np.linalg.norm(close, axis=1), 1, atol=1e-5)


@pytest.mark.skipif(not has_onednn(), reason="this PyTorch has no oneDNN")
def test_many_rows_are_multiplied_by_onednn_and_come_out_as_by_the_layers_alone():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.GELU(), torch.nn.Linear(20, 5))
    both = ByOneDnn(layers.eval())
    rows = torch.randn(FEWEST_ROWS, 30)
    with torch.inference_mode(), torch.profiler.profile() as profile:
        found = both(rows)
    assert "aten::mkldnn_linear" in {event.key for event in profile.key_averages()}
    assert_allclose(found, layers(rows).detach(), atol=1e-6)
    few = rows[: FEWEST_ROWS - 1]
    with torch.inference_mode():
        assert torch.equal(both(few), layers(few))


def test_memory_that_may_not_be_written_is_read_as_any_other(predictor, feature_rows):
    features, present = (part.numpy() for part in feature_rows({"taste_7d"}))
    expected = predictor.embed(features, present)
    features.flags.writeable = False
    assert_allclose(predictor.embed(features, present), expected)


def test_rows_of_another_width_are_refused(predictor, layout):
    narrow = np.zeros((2, layout.width - 1), np.float32)
    with pytest.raises(ValueError, match=f"rows of {layout.width - 1} features"):
        predictor.embed(narrow, np.zeros((2, len(layout.groups)), np.float32))


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
