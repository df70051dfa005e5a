import numpy as np

from models.baselines.low_rank import Product, factors


def test_factors_of_a_matrix_that_is_only_multiplied_with():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((30, 5)) @ rng.standard_normal((5, 200))
    product = Product(matrix.shape, lambda block: matrix @ block, lambda block: matrix.T @ block)
    left, right = factors(product, 5, seed=0)
    np.testing.assert_allclose(left @ right.T, matrix, atol=1e-8)
    assert [part.shape for part in factors(product, 64, seed=0)] == [(30, 30), (200, 30)]
