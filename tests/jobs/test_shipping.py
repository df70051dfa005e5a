import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jobs.cooccurrence import WHOLE
from jobs.shipping import mapped_ids, save_ids, saved, sent, ship_ids
from models.codebook import fit_codebook
from models.features import unit
from models.layout import VECTOR_SIZE

IDS = pa.array(["t0", "t1", "t2"])
VECTORS = unit(np.random.default_rng(0).standard_normal((3, VECTOR_SIZE)).astype(np.float32))
CODEBOOK = fit_codebook(VECTORS, np.ones(3), seed=0)
CREATORS, DURATIONS = np.array([0, 0, -1]), np.array([1.0, np.nan, 3.0])


@pytest.fixture
def files(tmp_path):
    return saved(
        tmp_path / "items", {WHOLE: VECTORS, 2: -VECTORS}, CODEBOOK, CREATORS, DURATIONS, IDS
    )


def test_what_was_saved_is_mapped_as_it_was(files):
    assert files.item_ids().equals(IDS)
    assert_array_equal(files.creators_of_items(), CREATORS)
    assert_array_equal(files.durations(), DURATIONS)
    for fold, sign in ((WHOLE, 1), (2, -1)):
        assert_array_equal(np.load(files.vectors[fold]), sign * VECTORS)


def test_a_creator_lies_amid_the_items_that_are_known_to_be_his(files):
    centre = unit((VECTORS[0] + VECTORS[1])[None])
    assert_allclose(np.load(files.creators[WHOLE]), centre, atol=1e-6)
    assert_allclose(np.load(files.creators[2]), -centre, atol=1e-6)


def test_ids_are_mapped_as_they_were_even_none(tmp_path):
    for number, ids in enumerate((IDS, IDS.slice(1, 1), IDS.slice(0, 0))):
        assert mapped_ids(save_ids(tmp_path / str(number), ids)).equals(ids)


@pytest.mark.spark
def test_workers_find_what_was_sent_by_its_name(spark, files):
    shipped = sent(spark, files)
    touched = ship_ids(spark, "touched", pa.array(["u1"]))
    assert "/" not in shipped.ids + touched

    def seen(batches):
        for batch in batches:
            found = [*shipped.item_ids().to_pylist(), *mapped_ids(touched).to_pylist()]
            yield pa.RecordBatch.from_pydict({"ids": [found] * batch.num_rows})

    rows = spark.range(1).mapInArrow(seen, "ids array<string>").collect()
    assert rows[0].ids == ["t0", "t1", "t2", "u1"]
