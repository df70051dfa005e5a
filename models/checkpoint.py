"""Weights as safetensors with a JSON side-car; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from typing import TYPE_CHECKING, Any

from safetensors.torch import load, save

from models.codebook import Codebook
from models.user_model import UserModel, UserModelConfig
from schemas.stores import filesystem_of, whole_file

if TYPE_CHECKING:
    from models.layout import FeatureLayout

WEIGHTS, SIDE_CAR, CODEBOOK = "model.safetensors", "model.json", "codebook.safetensors"
KIND = "user_autoencoder 2"
LIBRARIES = ("torch", "safetensors", "numpy")


def save_model(model: UserModel, uri: str, **about: Any) -> str:
    """Write weights and side-car to a folder; returns the SHA-256 of the weights.

    The side-car is written last: a folder without one holds no model.
    """
    weights = save({name: value.contiguous() for name, value in model.state_dict().items()})
    digest = hashlib.sha256(weights).hexdigest()
    side_car = {
        "kind": KIND,
        "sha256": digest,
        "config": model.config.model_dump(mode="json"),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        **about,
    }
    for name, content in ((WEIGHTS, weights), (SIDE_CAR, json.dumps(side_car).encode())):
        _write(f"{uri}/{name}", content)
    return digest


def save_codebook(codebook: Codebook, uri: str) -> None:
    """Write a codebook to a folder, where its model will be."""
    _write(f"{uri}/{CODEBOOK}", save(codebook.state_dict()))


def load_codebook(uri: str) -> Codebook:
    """Read the codebook of a folder.

    Raises:
        ValueError: there is none.
    """
    filesystem, folder = filesystem_of(uri)
    if not filesystem.exists(f"{folder}/{CODEBOOK}"):
        raise ValueError(
            f"{uri} has no {CODEBOOK}: run jobs/build_features.py for this batch first"
        )
    state = load(filesystem.cat_file(f"{folder}/{CODEBOOK}"))
    found = Codebook(len(state["anchors"]))
    found.load_state_dict(state)
    return found


def _write(uri: str, content: bytes) -> None:
    with whole_file(uri) as file:
        file.write(content)


def load_model(uri: str, layout: FeatureLayout | None = None) -> UserModel:
    """Read a model, ready to embed.

    Args:
        uri: folder of ``save_model``.
        layout: of the rows that it will be given.

    Raises:
        ValueError: the weights are not those the side-car speaks of, or are of another kind of
            model, or the layout is another; the message lists the differences.
    """
    filesystem, folder = filesystem_of(uri)
    weights = filesystem.cat_file(f"{folder}/{WEIGHTS}")
    side_car = json.loads(filesystem.cat_file(f"{folder}/{SIDE_CAR}"))
    if hashlib.sha256(weights).hexdigest() != side_car["sha256"]:
        raise ValueError(f"{uri}: the weights are not those that {SIDE_CAR} speaks of")
    if side_car["kind"] != KIND:
        raise ValueError(
            f"{uri} is a model of the kind {side_car['kind']!r}, and this code reads {KIND!r}: "
            "use the version of the code that its batch pins, or build another batch"
        )
    config = UserModelConfig.model_validate(side_car["config"])
    if layout is not None and (differences := config.layout.differences(layout)):
        raise ValueError(f"{uri} reads feature rows of another layout: {'; '.join(differences)}")
    model = UserModel(config)
    model.load_state_dict(load(weights))
    return model.eval()
