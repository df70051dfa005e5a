import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from jobs.blending import blended, by_fold
from jobs.catalogue import Catalogue
from jobs.cooccurrence import FOLDS, VARIANTS, WHOLE
from jobs.met import MET
from models import item_vectors as iv
from models.layout import VECTOR_SIZE

pytestmark = pytest.mark.spark

PLAYED = [f"a{number}" for number in range(6)]  # by one creator, all of whom users of fold 0 play
ITEMS = [*PLAYED, "b", "c"]  # b is by the same creator, of c nothing is known; nobody plays them
PLAYS = 40
TOLD = (
    "item_id string, kind string, creator_id string, genres array<string>, language string, "
    "audio_features array<float>"
)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    support = np.zeros((len(ITEMS), FOLDS), np.int64)
    support[: len(PLAYED), :2] = [PLAYS, 1]
    none = np.zeros(0, bool)
    return Catalogue(sparse.csr_matrix((len(ITEMS), 0)), none.astype(int), none, none, support)


def first_axis() -> list[float]:
    return [1.0] + [0.0] * (VECTOR_SIZE - 1)


@pytest.fixture(scope="module")
def rows(spark, catalogue) -> dict[str, dict]:
    """What is known of each item once co-occurrence and content are blended, by id."""
    met = []
    for item, name in enumerate(ITEMS):
        heard = name in PLAYED
        supports = [float(catalogue.support_without(fold)[item]) for fold in VARIANTS]
        vector = first_axis() if heard else [0.0] * VECTOR_SIZE
        met.append((name, item, vector * len(VARIANTS), supports))
    told = [(name, "track", None if name == "c" else "A", None, None, None) for name in ITEMS]
    found = blended(
        spark.createDataFrame(met, MET),
        items=spark.createDataFrame(told, TOLD),
        texts=None,
        catalogue=catalogue,
        trust=iv.trust,
    )
    flat = by_fold(found, catalogue).collect()
    return {(row["item_id"], row["fold"]): row.asDict() for row in flat}


def test_what_nobody_played_lies_where_its_creators_others_do(rows):
    row = rows["b", WHOLE]
    assert (row["source"], row["support"]) == ("content", 0)
    assert_allclose(row["vector"], first_axis(), atol=1e-3)


def test_of_what_is_unknown_altogether_there_is_no_row(rows):
    assert {name for name, _ in rows} == {*PLAYED, "b"}


def test_every_variant_has_its_own_support(rows):
    found = {fold: rows["a0", fold]["support"] for fold in VARIANTS}
    assert found == {WHOLE: PLAYS + 1, 0: 1, 1: PLAYS, 2: PLAYS + 1, 3: PLAYS + 1, 4: PLAYS + 1}


def test_what_is_played_and_described_is_a_blend_of_length_one(rows):
    assert {rows[name, WHOLE]["source"] for name in PLAYED} == {"blend"}
    assert_allclose([np.linalg.norm(row["vector"]) for row in rows.values()], 1, atol=1e-5)
