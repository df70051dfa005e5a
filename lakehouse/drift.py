"""How far two samples lie apart, and what a set of vectors looks like as a whole: NumPy only.

Coordinates of vectors mean nothing across spaces, so vectors are compared through numbers that no
rotation changes: cosines of pairs, the spectrum, who is near whom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

BINS = 10
CHANCE = 0.001  # how seldom chance alone may exceed what is allowed for it
FLOOR = 1e-4  # share of an empty bin, so that its logarithm is finite
SAME = 0.9999  # cosine from which on two vectors stand in one place
SMALLEST = 1e-9  # length that is divided by where there is none


@dataclass(frozen=True)
class Drift:
    """How a column's values lie beside those of the live batch.

    Attributes:
        psi: population stability index beyond what chance gives samples of these sizes.
        ks: largest distance of the two distribution functions, likewise.
        edges: (B + 1,) of the histogram.
        now, live: (B,) shares of the two samples in it.
    """

    psi: float
    ks: float
    edges: np.ndarray
    now: np.ndarray
    live: np.ndarray


def drift(now: np.ndarray, live: np.ndarray, within: float = 0.0) -> Drift:
    """Compare two samples of one number.

    Both measures go by rank, and would call it drift if all users who have played at the same pace
    moved by a hair: what has moved by no more than ``within`` counts as where it was.

    Args:
        now: (N,) with N > 0.
        live: (M,) with M > 0.
        within: how far is not far, in the unit of the numbers.
    """
    now, live = _snapped(now.astype(np.float64), live.astype(np.float64), within)
    edges = _edges(live, now)
    shares = [np.histogram(side, edges)[0] / len(side) for side in (now, live)]
    a, b = (np.maximum(share, FLOOR) for share in shares)
    smallness = 1 / len(now) + 1 / len(live)
    psi_by_chance = float(special.chdtri(max(len(edges) - 2, 1), CHANCE)) * smallness
    ks_by_chance = np.sqrt(-np.log(CHANCE / 2) / 2 * smallness)
    return Drift(
        psi=max(0.0, float(((a - b) * np.log(a / b)).sum()) - psi_by_chance),
        ks=max(0.0, _largest_gap(now, live) - float(ks_by_chance)),
        edges=edges,
        now=shares[0],
        live=shares[1],
    )


def mix_drift(now: np.ndarray, live: np.ndarray) -> Drift:
    """Compare how users share out a whole on average, such as their plays over the hours.

    Each user's own shares may all stay near where they were while the mix turns, as it does where a
    time zone is lost. Chance is taken off by how much users differ from one another.

    Args:
        now: (N, C) shares with N > 0; columns in an order that means something.
        live: (M, C) shares with M > 0.
    """
    freedom = max((now.shape[1] - 1) / 2, 1.0)  # shares of one user go together
    a, b = (np.maximum(side.mean(axis=0, dtype=np.float64), FLOOR) for side in (now, live))
    noise = _variance_of_mean(now) + _variance_of_mean(live)  # (C,)
    psi_by_chance = float(special.chdtri(freedom, CHANCE)) / freedom * float((noise / b).sum())
    below = [np.cumsum(side, axis=1) for side in (now, live)]
    gaps = np.abs(below[0].mean(axis=0) - below[1].mean(axis=0))
    spread = np.sqrt(sum(_variance_of_mean(side) for side in below))
    ks_by_chance = float(special.ndtri(1 - CHANCE / (2 * len(a)))) * spread
    return Drift(
        psi=max(0.0, float(((a - b) * np.log(a / b)).sum()) - psi_by_chance),
        ks=max(0.0, float((gaps - ks_by_chance).max())),
        edges=np.arange(len(a) + 1, dtype=np.float64),
        now=a,
        live=b,
    )


def _variance_of_mean(values: np.ndarray) -> np.ndarray:
    """How far the mean of each column may lie from the truth, squared, (C,)."""
    return np.asarray(values.var(axis=0, dtype=np.float64) / len(values))


def _snapped(now: np.ndarray, live: np.ndarray, within: float) -> tuple[np.ndarray, np.ndarray]:
    """The first sample sorted, with each value that is near the other's of its rank put there."""
    ranks = (np.arange(len(now)) + 0.5) / len(now)
    places = np.ceil(ranks * len(live)).astype(np.int64) - 1  # np.quantile takes ten times as long
    ours, theirs = np.sort(now), np.sort(live)[places]
    return np.where(np.abs(ours - theirs) <= within, theirs, ours), live


def share_change(now: float, live: float, smallness: float) -> float:
    """How far two shares lie apart beyond what chance gives.

    Args:
        now: the share of N rows.
        live: the share of M rows.
        smallness: 1 / N + 1 / M.
    """
    both = (now + live) / 2
    by_chance = special.ndtri(1 - CHANCE / 2) * np.sqrt(both * (1 - both) * smallness)
    return max(0.0, abs(now - live) - float(by_chance))


def _edges(live: np.ndarray, now: np.ndarray) -> np.ndarray:
    """One bin per value where there are few, else deciles; of both samples, so none is empty."""
    both = np.concatenate([live, now])
    values = np.unique(both)
    if len(values) <= BINS:
        inner = (values[1:] + values[:-1]) / 2
    else:
        inner = np.unique(np.quantile(both, np.linspace(0, 1, BINS + 1)[1:-1]))
    margin = 0.01 * max(float(values[-1] - values[0]), SMALLEST)
    return np.concatenate([[values[0] - margin], inner, [values[-1] + margin]])


def _largest_gap(now: np.ndarray, live: np.ndarray) -> float:
    """The two-sample Kolmogorov-Smirnov statistic."""
    a, b = np.sort(now), np.sort(live)
    both = np.concatenate([a, b])
    below = [np.searchsorted(side, both, side="right") / len(side) for side in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def pair_cosines(vectors: np.ndarray) -> np.ndarray:
    """Cosines of neighbouring rows, (N - 1,): how alike two users are who have nothing in common.

    Args:
        vectors: (N, d), rows in an order that means nothing.
    """
    units = unit_rows(vectors)
    return np.einsum("nd,nd->n", units[1:], units[:-1])


def effective_dimension(vectors: np.ndarray) -> float:
    """Effective rank of the centred vectors: e to the entropy of their spectrum.

    Roy and Vetterli, The effective rank, EUSIPCO 2007. From 1 (all on a line) to d.

    Args:
        vectors: (N, d).
    """
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    spectrum = np.clip(np.linalg.eigvalsh(centred.T @ centred), 0, None)
    if spectrum.sum() <= 0:
        return 1.0
    share = spectrum[spectrum > 0] / spectrum.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def uniformity(vectors: np.ndarray) -> float:
    """Log of the mean Gaussian potential of two users; the lower, the more evenly they lie.

    Wang and Isola, Understanding contrastive representation learning, ICML 2020, with t = 2. From
    0, all in one place or fewer than two, to about -3.9, evenly over a sphere in 128 dimensions.

    Args:
        vectors: (N, d), rows in an order that means nothing.
    """
    if len(vectors) < 2:  # noqa: PLR2004 - a pair
        return 0.0
    return float(np.log(np.exp(4 * (pair_cosines(vectors) - 1)).mean()))


def crowd(vectors: np.ndarray, most: int) -> float:
    """Share of the rows that stand in one place, to ``SAME``, at the fullest of ``most`` places.

    Args:
        vectors: (N, d) with N > 0, rows in an order that means nothing.
        most: rows around which is looked; a place that many share is among them.
    """
    units = unit_rows(vectors)
    around = (units[:most] @ units.T >= SAME).mean(axis=1)  # (most,)
    return float(around.max())


def neighbours_changed(now: np.ndarray, live: np.ndarray, count: int) -> float:
    """Share of the nearest neighbours, by cosine, that differ between two spaces.

    Counted so that neighbours drawn by lot give 1, also where there are few to draw from.

    Args:
        now: (N, d) vectors of some users, N > count + 1.
        live: (N, e) vectors of the same users in the other space.
        count: neighbours of each.
    """
    kept = [
        len(np.intersect1d(a, b))
        for a, b in zip(nearest(now, count), nearest(live, count), strict=True)
    ]
    by_lot = count / (len(now) - 1)
    return min(1.0, (1 - float(np.mean(kept)) / count) / (1 - by_lot))


def nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    """Rows of the nearest neighbours by cosine, (N, count), itself left out."""
    units = unit_rows(vectors)
    scores = units @ units.T
    np.fill_diagonal(scores, -np.inf)
    return np.argpartition(-scores, count, axis=1)[:, :count]


def alikeness_kept(now: np.ndarray, live: np.ndarray) -> float | None:
    """Correlation, over all pairs of users, of how alike they are now with how alike they were.

    1 where every user is who they were, whatever rotation lies between the two spaces, and about 0
    where values belong to other users (Mantel, Cancer Research 27, 1967).

    Args:
        now: (N, d) values of some users, N > 2.
        live: (N, e) values of the same users.

    Returns:
        None where all users are alike on one side, and nobody can be told from another.
    """
    pairs = np.triu_indices(len(now), k=1)
    a, b = (_products(side)[pairs] for side in (now, live))
    spread = a.std() * b.std()
    if spread < SMALLEST**2:
        return None
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread)


def _products(values: np.ndarray) -> np.ndarray:
    """Products of all pairs of rows once their mean is taken away, (N, N)."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    return centred @ centred.T


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, and zeros where there was nothing, (N, d)."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), SMALLEST)
