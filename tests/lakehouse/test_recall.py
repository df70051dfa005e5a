from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse import ann as indexes
from lakehouse.ann import Ann, IndexConfig
from lakehouse.recall import Truth, chosen, drawn, exact, measure
from models.features import unit


def around(centres: int, rows: int, width: int = 16, seed: int = 0) -> np.ndarray:
    """Unit vectors in clusters that overlap."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, width))[rng.integers(0, centres, rows)]
    return unit(middle + 0.8 * rng.normal(size=(rows, width)))


def truth_of(vectors: np.ndarray, queries: int = 100) -> Truth:
    rows = np.arange(queries)
    return Truth.of(vectors, vectors[rows], rows)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**16))
def test_exact_search_in_parts_is_a_sort_of_all_products(rows, count, part, seed):
    vectors, count = around(4, rows, seed=seed), min(count, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "AT_ONCE", part)
        near, found = exact(vectors, vectors[:7], count)
    every = vectors[:7] @ vectors.T
    np.testing.assert_allclose(near, -np.sort(-every, axis=1)[:, :count], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(every, found, 1), near, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 5, 300])
def test_the_recall_of_an_exact_index_is_one(rows):
    vectors, config = around(10, rows), IndexConfig(kind="flat")
    own = np.sort(drawn(rows, config))
    truth = Truth.of(vectors, vectors[own], own)
    _, found = measure(Ann.build(vectors, config), config, truth, target=1.0)
    assert found.recall == {10: 1.0, 100: 1.0}
    assert found.reached


def test_rows_that_are_one_and_the_same_count_whichever_is_found():
    vectors = np.repeat(around(3, 3), 40, axis=0)
    truth = truth_of(vectors)

    class LastFirst(Ann):
        def search(self, queries, count):
            near = self.vectors @ queries.T
            rows = np.argsort(-near.round(5)[::-1], axis=0, kind="stable")[:count].T
            return np.zeros(rows.shape, np.float32), len(self.vectors) - 1 - rows

    last_first = LastFirst(None, vectors, IndexConfig().resolved(120, 16))
    assert truth.recall(last_first, 10)[0].mean() == 1.0


def test_the_recall_of_an_index_of_other_vectors_is_that_of_chance():
    vectors = around(10, 500)
    other = Ann.build(around(10, 500, seed=1), IndexConfig(kind="flat"))
    shares, _ = truth_of(vectors).recall(other, 10)
    assert shares.mean() < 0.2


def test_a_query_does_not_find_itself():
    vectors = around(50, 200)
    truth = truth_of(vectors, 50)
    assert truth.products.max() < 1 - 1e-4
    assert truth.products.shape == (50, 100)


def test_the_fewest_cells_that_reach_the_target_are_chosen():
    vectors, config = around(40, 4_000), IndexConfig(kind="ivf_flat", nlist=32)
    ann, truth = Ann.build(vectors, config), truth_of(vectors, 400)
    found = [chosen(ann, config, truth, target).parameters.nprobe for target in (0.05, 0.95, 1.0)]
    assert found[0] == 1
    assert found == sorted(found)
    assert 1 < found[1] < found[2] == 32
    fewer = ann.parameters.model_copy(update={"nprobe": found[1] // 2})
    assert truth.recall(replace(ann, parameters=fewer), 10)[0].mean() < 0.96


def test_whole_vectors_reach_any_target():
    vectors, config = around(40, 4_000), IndexConfig(kind="ivf_flat", nlist=512)
    _, found = measure(Ann.build(vectors, config), config, truth_of(vectors, 400), 1.0)
    assert found.recall[10] > 0.9995


def test_what_codes_lose_is_compared_again_by_whole_vectors():
    vectors = around(40, 4_000)
    config = IndexConfig(kind="ivf_pq", nlist=16, m=4, nbits=4)
    best = chosen(Ann.build(vectors, config), config, truth_of(vectors, 400), 0.9)
    assert best.parameters.rerank > 1
    assert truth_of(vectors, 400).recall(best, 10)[0].mean() > 0.9


def test_what_cannot_be_reached_is_told_with_what_finds_most():
    vectors = around(40, 4_000)
    config = IndexConfig(kind="ivf_pq", nlist=16, m=2, nbits=4, rerank=1)
    ann = Ann.build(vectors, config)
    best, found = measure(ann, config, truth_of(vectors, 200), 0.99)
    assert not found.reached
    assert 0.05 < found.recall[10] < 0.9
    assert best.parameters.rerank == 1
    assert found.queries == 100


def test_many_neighbours_need_more_cells_than_few():
    vectors, config = around(40, 4_000), IndexConfig(kind="ivf_flat", nlist=64)
    ann, truth = Ann.build(vectors, config), truth_of(vectors, 400)
    few, _ = measure(ann, config, truth, 0.95)
    many, found = measure(ann, config, truth, 0.95, at=100)
    assert many.parameters.nprobe > few.parameters.nprobe
    assert found.recall[100] >= 0.95
    assert found.reached


def test_what_is_given_is_not_chosen():
    vectors = around(40, 2_000)
    config = IndexConfig(kind="ivf_pq", nlist=16, m=4, nbits=4, nprobe=3, rerank=2)
    best = chosen(Ann.build(vectors, config), config, truth_of(vectors), 1.0)
    assert (best.parameters.nprobe, best.parameters.rerank) == (3, 2)


def test_queries_are_rows_drawn_once_each_by_the_seed():
    rows = drawn(5_000, IndexConfig(queries=100))
    assert len(set(rows)) == 200
    assert (rows == drawn(5_000, IndexConfig(queries=100))).all()
    assert (rows != drawn(5_000, IndexConfig(queries=100, seed=1))).any()
    assert sorted(drawn(30, IndexConfig())) == list(range(30))
