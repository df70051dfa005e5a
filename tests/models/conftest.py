import numpy as np
import pytest
import torch

from models.codebook import Codebook
from models.layout import VECTOR_SIZE, build_layout
from models.training import Examples, ItemTable
from models.user_model import UserModel, UserModelConfig

ITEMS, USERS = 40, 24


@pytest.fixture
def layout():
    return build_layout({"surface": ["home", "search"], "country": ["DE", "SE"]})


@pytest.fixture
def new_model(layout):
    """A model that nobody has trained, as a function of its seed."""

    def make(seed: int = 0) -> UserModel:
        torch.manual_seed(seed)
        return UserModel(UserModelConfig(layout=layout)).eval()

    return make


@pytest.fixture
def feature_rows(layout):
    """Feature rows of users of whom the named groups are known, as ``FeatureBuilder`` has them."""

    def make(*known: set[str], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        features = torch.zeros(len(known), layout.width)
        present = torch.zeros(len(known), len(layout.groups))
        for row, names in enumerate(known):
            for position, group in enumerate(layout.groups):
                if group.name not in names:
                    continue
                values = torch.randn(group.width, generator=generator)
                if group.kind == "vector":
                    values = values / values.norm()
                elif group.kind != "amounts":
                    values = values.softmax(dim=0)
                features[row, group.slice] = values
                present[row, position] = 1
        return features, present

    return make


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
