"""The best factors of a matrix that is only known by what it does to blocks of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

OVERSAMPLING = 16  # columns beyond those that are kept
SWEEPS = 4  # power iterations: scores' spectra fall slowly


class Product(NamedTuple):
    """A matrix M as two functions.

    Attributes:
        shape: (N, M).
        right: M times a block, (M, k) to (N, k).
        left: Mᵀ times a block, (N, k) to (M, k).
    """

    shape: tuple[int, int]
    right: Callable[[np.ndarray], np.ndarray]
    left: Callable[[np.ndarray], np.ndarray]


def factors(matrix: Product, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors whose product is the best approximation of so low a rank.

    Randomized SVD with power iterations (Halko, Martinsson and Tropp, SIAM Review 2011).

    Returns:
        U·√S (N, k) and V·√S (M, k), k the least of ``size``, N and M.
    """
    columns = min(size + OVERSAMPLING, *matrix.shape)
    block = np.random.default_rng(seed).standard_normal((matrix.shape[1], columns))
    for _ in range(SWEEPS):
        basis = np.linalg.qr(matrix.right(block))[0]  # (N, columns)
        block = np.linalg.qr(matrix.left(basis))[0]  # (M, columns)
    basis = np.linalg.qr(matrix.right(block))[0]
    left, scale, right = np.linalg.svd(matrix.left(basis).T, full_matrices=False)
    kept, root = min(size, columns), np.sqrt(scale)
    return (basis @ left * root)[:, :kept], (right.T * root)[:, :kept]
