import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from jobs.catalogue import Catalogue
from jobs.cooccurrence import FOLDS, VARIANTS, WHOLE
from jobs.factorise import context_totals, factorised, projected
from jobs.met import met_in
from jobs.pmi import PmiRows

pytestmark = pytest.mark.spark

ITEMS = 6  # those with even numbers are played together, and those with odd ones
FOLD = 3  # of everybody


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    support = np.zeros((ITEMS, FOLDS), np.int64)
    support[:, FOLD] = 9
    yes = np.ones(ITEMS, bool)
    own = sparse.identity(ITEMS, np.float32, "csr")
    return Catalogue(own, np.zeros(ITEMS, int), ~yes, yes, support)


@pytest.fixture(scope="module")
def rows(spark):
    met = []
    for item in range(ITEMS):
        near = [other for other in range(ITEMS) if other != item and other % 2 == item % 2]
        met.append((f"i{item}", item, near, [FOLD] * len(near), [1_000.0] * len(near)))
    schema = "item_id string, item int, neighbours array<int>, folds array<int>"
    return spark.createDataFrame(met, f"{schema}, counts array<float>").repartition(2).persist()


@pytest.fixture(scope="module")
def totals(rows, catalogue) -> np.ndarray:
    return context_totals(rows, catalogue)


def test_totals_say_how_often_users_of_each_fold_met_each_context(totals):
    expected = np.zeros((FOLDS, ITEMS))
    expected[FOLD] = 2_000  # each item is met by the two others of its camp
    assert_allclose(totals, expected)


@pytest.fixture(scope="module")
def vectors(rows, catalogue, totals) -> np.ndarray:
    pmi = PmiRows(catalogue, totals, shift=1.0, smoothing=0.75)
    found = projected(rows, pmi, factorised(rows, pmi, iterations=4, seed=0)).orderBy("item")
    return met_in(found.toArrow())[0]


def test_items_that_meet_the_same_others_are_near_and_no_others(vectors):
    whole = vectors[:, VARIANTS.index(WHOLE)]
    cosines = whole @ whole.T
    same = np.add.outer(np.arange(ITEMS), np.arange(ITEMS)) % 2 == 0
    assert cosines[same].min() > cosines[~same].max() + 0.3


def test_without_the_only_fold_that_played_nothing_is_met(vectors):
    assert not vectors[:, VARIANTS.index(FOLD)].any()
    assert_allclose(vectors[:, VARIANTS.index(0)], vectors[:, VARIANTS.index(WHOLE)], atol=1e-6)
