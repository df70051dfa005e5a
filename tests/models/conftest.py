import pytest
import torch

from models.layout import build_layout
from models.user_model import UserModel, UserModelConfig


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
