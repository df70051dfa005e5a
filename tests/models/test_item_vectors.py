import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from models import item_vectors as iv
from models.features import unit

BY_HAND = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [2.0, 1.0, 0.0]])
ONE_BLOCK = np.zeros(3, np.int64)


def pmi(counts: np.ndarray, block: np.ndarray, shift: float = 1.0, smoothing: float = 1.0):
    total = counts.sum(axis=0)
    return iv.positive_pmi(sparse.csr_matrix(counts), total, block, shift, smoothing).toarray()


def test_pmi_by_hand():
    # log(count · all / (of the item · of the context)), where that is above zero
    expected = np.log(
        [[2 * 10 / (3 * 4), 1, 1 * 10 / (3 * 2)], [1, 3 * 10 / 16, 10 / 8], [20 / 12, 1, 1]]
    )
    assert_allclose(pmi(BY_HAND, ONE_BLOCK), expected, atol=1e-6)


def test_pmi_counts_each_block_of_contexts_by_itself():
    block = np.array([0, 0, 1])
    first = pmi(BY_HAND[:, :2], np.zeros(2, np.int64))
    assert_allclose(pmi(BY_HAND, block)[:, :2], first, atol=1e-6)
    # Alone in its block the third context is met exactly as often as chance says.
    assert not pmi(BY_HAND, block)[:, 2].any()


def test_a_shift_takes_its_logarithm_away_and_keeps_only_what_stays_above_zero():
    plain, shifted = pmi(BY_HAND, ONE_BLOCK), pmi(BY_HAND, ONE_BLOCK, shift=1.5)
    assert_allclose(shifted, np.maximum(plain - np.log(1.5), 0), atol=1e-6)


def test_smoothing_tames_rare_contexts():
    plain, smooth = pmi(BY_HAND, ONE_BLOCK), pmi(BY_HAND, ONE_BLOCK, smoothing=0.75)
    assert smooth[0, 2] < plain[0, 2]


def test_items_without_counts_have_empty_rows():
    counts = sparse.csr_matrix((2, 3))
    assert iv.positive_pmi(counts, np.ones(3), ONE_BLOCK, 1.0, 0.75).nnz == 0


@given(arrays(np.float64, (6, 5), elements=st.integers(0, 3)), st.integers(0, 6))
def test_the_shares_of_partitions_add_up(dense, cut):
    block = iv.start_block(5, 3, seed=1)
    whole, parts = (
        sparse.csr_matrix(dense),
        [sparse.csr_matrix(dense[:cut]), sparse.csr_matrix(dense[cut:])],
    )
    for share in (iv.power_step, iv.gram):
        total = sum(share(part, block) for part in parts)
        assert_allclose(total, share(whole, block), atol=1e-3)


def test_the_start_is_orthonormal_and_seeded():
    block = iv.start_block(40, 8, seed=3)
    assert_allclose(block.T @ block, np.eye(8 + iv.OVERSAMPLING), atol=1e-5)
    assert (block == iv.start_block(40, 8, seed=3)).all()
    assert not np.allclose(block, iv.start_block(40, 8, seed=4))


def test_the_projection_spans_what_numpy_finds():
    rng = np.random.default_rng(0)
    strengths = np.r_[np.array([30, 20, 12, 8]), np.full(26, 0.1)]
    left = np.linalg.qr(rng.standard_normal((60, 30)))[0]
    right = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    dense = (left * strengths) @ right.T
    rows = sparse.csr_matrix(dense)
    block = iv.start_block(30, 4, seed=0)
    for _ in range(4):
        block = np.linalg.qr(iv.power_step(rows, block))[0].astype(np.float32)
    found = iv.projection(block, iv.gram(rows, block), 4)
    exact = np.linalg.svd(dense)[2][:4].T
    assert_allclose(np.abs((found * exact).sum(axis=0)), 1, atol=1e-4)  # equal up to sign
    largest = found[np.abs(found).argmax(axis=0), np.arange(4)]
    assert (largest > 0).all()


def test_the_projection_has_zeros_where_there_are_fewer_contexts_than_columns():
    rows = sparse.csr_matrix(BY_HAND)
    block = iv.start_block(3, 8, seed=0)
    found = iv.projection(block, iv.gram(rows, block), 8)
    assert found.shape == (3, 8)
    assert not found[:, 3:].any()


def test_a_blend_is_content_without_plays_and_co_occurrence_with_many():
    met, content = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])

    def of(plays: int) -> np.ndarray:
        return iv.blend(met, content, iv.trust(np.array([plays]), 5.0))

    assert_allclose(of(0), content)
    assert_allclose(of(1_000_000), met, atol=1e-4)
    assert_allclose(of(5), unit(np.ones((1, 2))), atol=1e-6)


def test_without_doubt_one_play_is_enough_and_none_is_not():
    assert_array_equal(iv.trust(np.array([0, 1]), 0.0), [0, 1])


@pytest.mark.parametrize(
    ("trust", "half"), [(iv.trust, iv.CONTENT_PRIOR), (iv.trust_of_trained, iv.TRAINED_PRIOR)]
)
def test_trust_grows_with_plays_from_none_to_whole(trust, half):
    found = trust(np.array([0.0, half, 1_000_000.0]))
    assert_allclose(found, [0, 0.5, 1], atol=1e-4)


def test_plays_without_a_vector_do_not_weaken_content():
    content = np.array([[0.0, 1.0]])
    assert_allclose(iv.blend(np.zeros((1, 2)), content, np.array([0.9])), content)


def test_a_blend_of_nothing_is_zero():
    assert not iv.blend(np.zeros((1, 2)), np.zeros((1, 2)), np.array([0.4])).any()


def test_an_alignment_finds_the_map_from_one_space_to_the_other():
    rng = np.random.default_rng(0)
    start = unit(rng.standard_normal((500, 8)).astype(np.float32))
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    to_moved = iv.alignment(start, start @ turn, np.full(500, 10.0))
    assert_allclose(iv.aligned(start, to_moved), start @ turn, atol=0.01)


def test_an_alignment_counts_rows_by_their_weight():
    rng = np.random.default_rng(0)
    start = unit(rng.standard_normal((500, 8)).astype(np.float32))
    moved = np.where(np.arange(500)[:, None] < 100, start, -start)
    weight = np.where(np.arange(500) < 100, 1_000.0, 1.0)
    assert_allclose(iv.aligned(start, iv.alignment(start, moved, weight)), start, atol=0.05)
