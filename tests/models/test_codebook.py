import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from models.codebook import ITEM_SIZE, Codebook, fit_codebook
from models.features import unit
from models.layout import CODE_SIZE, VECTOR_SIZE

KINDS, EACH = 30, 40


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Items in thirty places, the third between the first two; the last item has no vector."""
    rng = np.random.default_rng(0)
    places = unit(rng.standard_normal((KINDS, VECTOR_SIZE)))
    places[2] = unit(places[:2].sum(axis=0, keepdims=True))[0]
    rows = places.repeat(EACH, axis=0) + 0.04 * rng.standard_normal((KINDS * EACH, VECTOR_SIZE))
    return np.vstack([unit(rows), np.zeros(VECTOR_SIZE)]).astype(np.float32)


@pytest.fixture(scope="module")
def codebook(vectors) -> Codebook:
    return fit_codebook(vectors, np.ones(len(vectors)), seed=0)


def coded(codebook: Codebook, vectors: np.ndarray) -> np.ndarray:
    return codebook.codes(torch.from_numpy(vectors)).numpy()


def test_two_interests_do_not_meet_in_the_middle(codebook, vectors):
    """A user of two places is nearest to the place between them by vectors, and not by codes."""
    firsts, seconds, between = (vectors[EACH * place : EACH * (place + 1)] for place in range(3))
    played = np.vstack([firsts, seconds])

    def nearness(rows: np.ndarray, user: np.ndarray) -> float:
        return float((unit(rows) @ unit(user[None])[0]).mean())

    user = played.mean(axis=0)
    assert nearness(between, user) > nearness(played, user) + 0.1
    user = coded(codebook, played).mean(axis=0)
    assert nearness(coded(codebook, between), user) < nearness(coded(codebook, played), user) - 0.1


def test_the_product_of_codes_is_high_within_a_place_and_falls_outside(codebook, vectors):
    codes = unit(coded(codebook, vectors[10 * EACH : 12 * EACH]))
    within = (codes[:EACH] @ codes[:EACH].T).mean()
    across = (codes[:EACH] @ codes[EACH:].T).mean()
    assert within > 0.8
    assert across < 0.2


def test_codes_follow_from_the_direction_of_the_vector_alone(codebook, vectors):
    some = vectors[[3, 500, 1200]]
    assert_allclose(coded(codebook, 7 * some), coded(codebook, some), atol=1e-6)
    assert_allclose(coded(codebook, some[:1]), coded(codebook, some)[:1], atol=1e-6)


def test_an_item_without_a_vector_has_no_code(codebook, vectors):
    assert not coded(codebook, vectors[-1:]).any()
    described = codebook(torch.from_numpy(vectors[-1:]), torch.tensor([3]))
    assert torch.isfinite(described).all()


def test_the_same_seed_finds_the_same_codebook(codebook, vectors):
    again = fit_codebook(vectors, np.ones(len(vectors)), seed=0).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in codebook.state_dict().items())


def test_anchors_lie_where_plays_are(vectors):
    plays = np.zeros(len(vectors))
    plays[: 10 * EACH] = 5
    anchors = fit_codebook(vectors, plays, seed=0).anchors.numpy()
    played = unit(vectors[: 10 * EACH].reshape(10, EACH, VECTOR_SIZE).mean(axis=1))
    assert (anchors @ played.T).max(axis=1).min() > 0.8


@pytest.mark.parametrize("items", [0, 1, 5, 30])
def test_small_catalogues_have_short_codes_and_no_others(items):
    rng = np.random.default_rng(1)
    vectors = unit(rng.standard_normal((items, VECTOR_SIZE))).astype(np.float32)
    codes = coded(fit_codebook(vectors, np.ones(items), seed=0), vectors)
    assert codes.shape == (items, CODE_SIZE)
    assert np.isfinite(codes).all()


def test_a_catalogue_that_nobody_played_has_no_codes(vectors):
    assert not coded(fit_codebook(vectors, np.zeros(len(vectors)), seed=0), vectors).any()


def test_items_are_described_by_vector_code_and_standardised_plays(vectors):
    plays = np.random.default_rng(2).integers(1, 1000, len(vectors))
    codebook = fit_codebook(vectors, plays, seed=0)
    found = codebook(torch.from_numpy(vectors), torch.from_numpy(plays)).numpy()
    assert found.shape == (len(vectors), ITEM_SIZE)
    assert_allclose(found[:, :VECTOR_SIZE], vectors)
    assert_allclose(np.linalg.norm(found[:-1, VECTOR_SIZE:-1], axis=1), 1, atol=1e-5)
    share = plays * vectors.any(axis=1) / plays[:-1].sum()
    common = found[:, -1]
    assert_allclose([share @ common, share @ common**2], [0, 1], atol=1e-4)
