import json
import pickle

import pytest
import torch

from models.checkpoint import SIDE_CAR, WEIGHTS, load_model, save_model
from models.layout import build_layout


@pytest.fixture
def saved(tmp_path, new_model):
    """A folder that holds a model."""
    folder = tmp_path / "model"
    save_model(new_model(), str(folder), epoch=3)
    return folder


def test_a_model_comes_back_as_it_was(saved, new_model, feature_rows, layout):
    found, model = load_model(str(saved), layout), new_model()
    assert found.config == model.config
    assert not found.training
    features, present = feature_rows({"taste_7d", "country"}, set())
    with torch.no_grad():
        assert torch.equal(found.users(features, present), model.users(features, present))


def test_the_side_car_says_what_the_weights_are(tmp_path, new_model):
    digest = save_model(new_model(), str(tmp_path), epoch=3, batch_id="b1")
    about = json.loads((tmp_path / SIDE_CAR).read_text())
    assert about["sha256"] == digest
    assert (about["epoch"], about["batch_id"]) == (3, "b1")
    assert about["libraries"]["torch"].startswith(torch.__version__.split("+")[0])


def test_the_hash_is_of_the_weights_and_nothing_else(tmp_path, new_model):
    digests = [
        save_model(new_model(seed), str(tmp_path / str(run)), run=run)
        for run, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_nothing_is_left_beside_weights_and_side_car(saved):
    assert sorted(place.name for place in saved.iterdir()) == sorted([WEIGHTS, SIDE_CAR])


def test_weights_that_somebody_changed_are_refused(saved):
    weights = bytearray((saved / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (saved / WEIGHTS).write_bytes(weights)
    with pytest.raises(ValueError, match="the weights are not those"):
        load_model(str(saved))


def test_a_folder_without_a_side_car_holds_no_model(saved):
    (saved / SIDE_CAR).unlink()
    with pytest.raises(FileNotFoundError):
        load_model(str(saved))


def test_another_layout_is_refused_and_every_difference_said(saved):
    other = build_layout({"surface": ["home", "search", "car"], "country": ["NO", "SE"]})
    with pytest.raises(ValueError, match=r"another layout") as refused:
        load_model(str(saved), other)
    assert "group surface differs" in str(refused.value)
    assert "group country differs" in str(refused.value)


def test_an_unknown_setting_in_the_side_car_is_refused(saved):
    about = json.loads((saved / SIDE_CAR).read_text())
    about["config"]["depth"] = 3
    (saved / SIDE_CAR).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="depth"):
        load_model(str(saved))


def test_nothing_is_pickled(saved, tmp_path, new_model, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("somebody pickled")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    save_model(new_model(), str(tmp_path / "again"))
    load_model(str(saved))
    # A safetensors file begins with the length of a JSON header.
    raw = (saved / WEIGHTS).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert all(set(entry) == {"dtype", "shape", "data_offsets"} for entry in header.values())
