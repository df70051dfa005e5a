import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.ann import Ann, IndexConfig, products
from models.features import unit
from schemas.errors import InputError


def around(centres: int, rows: int, width: int = 16, seed: int = 0) -> np.ndarray:
    """Unit vectors in clusters."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, width))[rng.integers(0, centres, rows)]
    return unit(middle + 0.3 * rng.normal(size=(rows, width)))


def by_hand(vectors: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :count]


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**16))
def test_a_flat_index_finds_exactly_the_nearest(rows, count, seed):
    vectors = around(5, rows, seed=seed)
    ann = Ann.build(vectors, IndexConfig(kind="flat"))
    near, found = ann.search(vectors[:3], count)
    best = by_hand(vectors, vectors[:3], count)
    assert found.shape == best.shape == (min(3, rows), min(count, rows))
    np.testing.assert_allclose(
        near, np.take_along_axis(vectors[:3] @ vectors.T, best, 1), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_pq"])
def test_all_cells_and_whole_vectors_find_exactly_the_nearest(kind):
    vectors = around(20, 600)
    ann = Ann.build(vectors, IndexConfig(kind=kind, nlist=8, nprobe=8, rerank=60, m=4, nbits=4))
    near, found = ann.search(vectors[:20], 10)
    assert (found == by_hand(vectors, vectors[:20], 10)).all()
    np.testing.assert_allclose(near[:, 0], 1.0, atol=1e-6)


def test_codes_alone_find_less_than_codes_with_whole_vectors():
    vectors = around(20, 600)
    best = by_hand(vectors, vectors, 10)

    def found(rerank: int) -> float:
        config = IndexConfig(kind="ivf_pq", nlist=4, nprobe=4, m=4, nbits=4, rerank=rerank)
        rows = Ann.build(vectors, config).search(vectors, 10)[1]
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, best, strict=True)])

    assert found(1) < 0.8
    assert found(8) > found(1) + 0.1


def test_what_the_cells_searched_do_not_have_is_row_minus_one():
    vectors = around(20, 100)
    ann = Ann.build(vectors, IndexConfig(kind="ivf_pq", nlist=50, nprobe=1, m=4, rerank=2))
    near, rows = ann.search(vectors[:5], 50)
    assert (rows == -1).any()
    assert np.isneginf(near[rows == -1]).all()
    assert (np.diff((rows >= 0).astype(int), axis=1) <= 0).all()  # what there is comes first


def test_half_precision_vectors_are_searched_too():
    vectors = around(10, 300).astype(np.float16)
    ann = Ann.build(vectors, IndexConfig(kind="ivf_pq", nlist=2, nprobe=2, m=4, rerank=8))
    assert (ann.search(vectors[:50], 1)[1][:, 0] == np.arange(50)).all()


def test_an_index_is_the_same_for_a_seed_and_another_for_another():
    vectors = around(20, 3_000)

    def found(seed: int) -> np.ndarray:
        config = IndexConfig(kind="ivf_flat", nlist=16, per_cell=40, seed=seed, threads=1)
        return Ann.build(vectors, config).search(vectors, 10)[1]

    assert (found(0) == found(0)).all()
    assert (found(0) != found(1)).any()


def test_an_index_is_read_as_it_was_written(tmp_path):
    vectors = around(10, 400)
    ann = Ann.build(vectors, IndexConfig(kind="ivf_pq", nlist=8, nprobe=3, m=4, rerank=4))
    ann.write(str(tmp_path / "index"))
    again = Ann.read(str(tmp_path / "index"), vectors, ann.parameters)
    assert (again.search(vectors, 5)[1] == ann.search(vectors, 5)[1]).all()


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (1, "flat"),
        (20_000, "flat"),
        (20_001, "ivf_flat"),
        (1_000_000, "ivf_flat"),
        (1_000_001, "ivf_pq"),
    ],
)
def test_the_kind_goes_by_the_rows(rows, kind):
    assert IndexConfig().resolved(rows, 128).kind == kind


def test_defaults_follow_from_rows_and_width():
    made = IndexConfig().resolved(2_000_000, 128)
    assert (made.nlist, made.m, made.nbits) == (4096, 64, 8)
    assert IndexConfig(kind="ivf_pq").resolved(50, 7).m == 1
    assert IndexConfig(kind="ivf_flat", nlist=9, nprobe=99).resolved(5, 8).nprobe == 5


def test_a_width_that_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match="128 numbers cannot be cut into 48 codes"):
        IndexConfig(kind="ivf_pq", m=48).resolved(100, 128)


def test_products_are_of_each_query_with_its_rows():
    vectors = around(5, 30)
    rows = np.array([[1, 2], [3, 29]])
    expected = [[vectors[0] @ vectors[1], vectors[0] @ vectors[2]]]
    expected += [[vectors[1] @ vectors[3], vectors[1] @ vectors[29]]]
    np.testing.assert_allclose(products(vectors, vectors[:2], rows), expected, rtol=1e-6)


def test_without_faiss_it_is_said_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'tasteprint\[ann\]'"):
        Ann.build(around(2, 10), IndexConfig())
