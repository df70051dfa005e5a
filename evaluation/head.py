"""The small downstream model that every representation is judged through, and its judgement.

A logistic regression of whether a user plays an item, on the user's vector, the item's vector and
their product::

    logit = c + p·u + q·v + (s + r) · (u ⊙ v)

where s is one number for all dimensions, so that a representation whose dot product is already
right needs nothing else. A ridge holds p, q and r; its weight is chosen on a fifth of the users
that teach. It is the same for every representation, and cheap enough to rank a whole catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from evaluation.pairs import Pairs
    from models.baselines.interactions import Representation

PENALTIES = (1e-1, 1e-2, 1e-3)
FEW = 20_000  # pairs that teach, of all users together
STEPS = 40
PAIRS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Head:
    """Weights of the regression, and the logit above which it says yes.

    Attributes:
        user, item, product: (d,) float32 p, q and s + r.
        constant, threshold: c, and where the accuracy over the teaching users was highest.
    """

    user: np.ndarray
    item: np.ndarray
    product: np.ndarray
    constant: float
    threshold: float = 0.0

    def logits(self, known: Representation, pairs: Pairs) -> np.ndarray:
        """Of each pair, (N,) float32."""
        by_user = known.users @ self.user  # (U,)
        by_item = known.items @ self.item  # (I,)
        found = by_user[pairs.user] + by_item[pairs.item] + self.constant
        weighed = known.users * self.product  # (U, d)
        for first in range(0, len(found), PAIRS_AT_ONCE):
            part = slice(first, first + PAIRS_AT_ONCE)
            found[part] += np.einsum(
                "nd,nd->n", weighed[pairs.user[part]], known.items[pairs.item[part]]
            )
        return found

    def ranking(self, known: Representation, users: np.ndarray) -> np.ndarray:
        """Logits of all items but for a constant of each user, (users, I) float32."""
        return (known.users[users] * self.product) @ known.items.T + known.items @ self.item


def scaled(known: Representation) -> Representation:
    """The same vectors with a mean squared length of 1, so that one ridge fits all."""
    return type(known)(*(_of_length_one(side) for side in known))


@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def fit_head(known: Representation, pairs: Pairs, rng: np.random.Generator) -> Head:
    """Choose the ridge on a fifth of the users, then fit on all and set the threshold.

    On one thread: NumPy and SciPy each bring threads of their own, which spin for one another's
    cores. On two cores a fit takes half as long again with them, and in a process that has loaded
    more such libraries several times as long.

    Args:
        known: from ``scaled``.
        pairs: of the users that teach.
        rng: of the choice of users and pairs.
    """
    users = np.unique(pairs.user)
    pairs = pairs.at_most(max(1, FEW // (2 * max(len(users), 1))), rng)
    kept = rng.permutation(users)[: max(1, len(users) // 5)]
    choosing = np.isin(pairs.user, kept)
    weight = pairs.weight() / len(users)
    columns, answers = _columns(known, pairs), np.where(pairs.played, 1.0, -1.0)
    best, found = np.inf, np.zeros(columns.shape[1])
    start, penalty = found, PENALTIES[0]
    for tried in PENALTIES:
        part = ~choosing if (~choosing).any() else choosing
        start = _fitted(columns[part], answers[part], weight[part], tried, start)
        loss = _loss(columns[choosing] @ start, answers[choosing], weight[choosing])
        if loss < best:
            best, penalty, found = loss, tried, start
    found = _fitted(columns, answers, weight, penalty, found)
    size = known.users.shape[1]
    user, item, product, (same, constant) = np.split(found, [size, 2 * size, 3 * size])
    logits = columns @ found.astype(np.float32)
    return Head(
        user=user.astype(np.float32),
        item=item.astype(np.float32),
        product=(product * size**0.5 + same).astype(np.float32),
        constant=float(constant),
        threshold=best_threshold(logits, pairs.played, weight),
    )


def best_threshold(scores: np.ndarray, played: np.ndarray, weight: np.ndarray) -> float:
    """Where the weighted share of right answers is highest; yes is what lies above.

    Args:
        scores: (N,).
        played: (N,) bool.
        weight: (N,).
    """
    order = np.argsort(scores)
    ordered = scores[order]
    gained = np.cumsum(np.where(played[order], -weight[order], weight[order]))
    ends = np.flatnonzero(np.append(np.diff(ordered) > 0, True))  # only between unequal scores
    at = ends[np.argmax(gained[ends])]
    if gained[at] <= 0:
        return float(ordered[0] - 1.0)
    return float(ordered[at] if at + 1 == len(ordered) else (ordered[at] + ordered[at + 1]) / 2)


def _columns(known: Representation, pairs: Pairs) -> np.ndarray:
    users, items = known.users[pairs.user], known.items[pairs.item]  # (N, d) each
    product = users * items
    ends = [product.sum(axis=1, keepdims=True), np.ones((len(users), 1), np.float32)]
    # A product of two coordinates is smaller than each by the root of their number.
    return np.concatenate([users, items, product * users.shape[1] ** 0.5, *ends], axis=1)


def _fitted(
    columns: np.ndarray, answers: np.ndarray, weight: np.ndarray, penalty: float, start: np.ndarray
) -> np.ndarray:
    ridge = np.full(columns.shape[1], penalty)
    ridge[-2:] = 0.0  # neither the dot product nor the constant is held back

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = (columns @ weights.astype(np.float32)).astype(np.float64)
        slope = -answers * weight / (1 + np.exp(np.clip(answers * logits, -60, 60)))
        value = _loss(logits, answers, weight) + 0.5 * float((ridge * weights**2).sum())
        return value, columns.T @ slope.astype(np.float32) + ridge * weights

    settings: dict[str, Any] = {"jac": True, "method": "L-BFGS-B", "options": {"maxiter": STEPS}}
    return np.asarray(minimize(loss, start, **settings).x)


def _loss(logits: np.ndarray, answers: np.ndarray, weight: np.ndarray) -> float:
    return float((weight * np.logaddexp(0, -answers * logits)).sum())


def _of_length_one(rows: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1).mean())
    return (rows / max(length, 1e-12)).astype(np.float32)
