"""What holds for every baseline."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from models.baselines import BASELINES
from models.baselines.baseline import library
from schemas.errors import TasteprintError

USERS, ITEMS, SILENT, SIZE = 60, 40, 17, 16
LIBRARIES = {"als": "implicit", "nmf": "sklearn", "pmf": "cornac", "lightfm": "lightfm"}
# Forty items and a thousand plays are less than the defaults are made for.
SMALL = {
    "als": {"alpha": 3.0},
    "lightfm": {"learning_rate": 0.05},
    "dlrm": {"batch": 64, "epochs": 8, "learning_rate": 0.1},
    "vae": {"batch": 16, "epochs": 20},
    "ease": {"penalty": 10.0},
    "sasrec": {"length": 12, "blocks": 1, "batch": 128, "negatives": 32, "learning_rate": 5e-3},
}


@pytest.fixture(params=BASELINES)
def fitted(request):
    """Fit a baseline to plays, as a function of them."""
    name = request.param
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])

    def fit(plays, seed=0, size=SIZE):
        return BASELINES[name](size=size, **SMALL.get(name, {})).fit(plays, seed)

    return fit


def test_what_a_users_own_community_plays_comes_first(fitted, communities, auc_of):
    assert auc_of(*fitted(communities())) > 0.8


def test_plays_alone_are_enough(fitted, communities, auc_of):
    assert auc_of(*fitted(communities(tagged=False))) > 0.8


@pytest.mark.parametrize("size", [8, 64])
def test_vectors_have_their_size_and_are_finite(fitted, communities, size):
    found = fitted(communities(), size=size)
    assert [part.shape for part in found] == [(USERS, size), (ITEMS, size)]
    assert [part.dtype for part in found] == [np.float32, np.float32]
    assert all(np.isfinite(part).all() for part in found)


def test_the_same_seed_gives_the_same_vectors(fitted, communities):
    one, other = fitted(communities(), seed=3), fitted(communities(), seed=3)
    assert np.array_equal(one.users, other.users)
    assert np.array_equal(one.items, other.items)


def test_a_user_of_whom_nothing_is_known_has_zeros(fitted, communities):
    found = fitted(communities(tagged=False))
    assert not found.users[SILENT].any()
    assert np.delete(found.users, SILENT, axis=0).any(axis=1).all()


@pytest.mark.parametrize("name", BASELINES)
def test_an_unknown_setting_is_an_error(name):
    with pytest.raises(ValidationError, match="momentum"):
        BASELINES[name](momentum=0.9)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_says_what_it_is_and_where_to_search(name):
    kind = BASELINES[name]
    assert kind.title
    assert kind.paper[-4:].isdigit()
    for field, values in kind.space().items():
        assert kind().__getattribute__(field) in values, "the default is one of those searched"
        for value in values:
            kind(**{field: value})


def test_the_package_imports_none_of_the_libraries():
    code = (
        "import sys, models.baselines; "
        "print({'torch', 'implicit', 'sklearn', 'cornac', 'lightfm'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "set()"


def test_a_missing_library_is_named_with_the_way_to_install_it():
    with pytest.raises(TasteprintError, match=r"no_such.*pip install 'tasteprint\[lightfm\]'"):
        library("no_such", "lightfm")
