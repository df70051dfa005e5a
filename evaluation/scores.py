"""How one representation answers a question: per user, so that intervals can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evaluation.head import Head, fit_head, scaled
from evaluation.metrics import auc, highest, ndcg
from evaluation.pairs import Pairs, Question, draw_pairs

if TYPE_CHECKING:
    from models.baselines.interactions import Representation

PARTS = 5  # a head is trained on 80 % of the users
EACH = 100  # positives and negatives of a user
FIRST = 50  # places of a ranking that count
USERS_AT_ONCE = 256
PAIR_METRICS, RANKING_METRICS = ("auc", "accuracy", "auc of dot products"), ("recall@50", "ndcg@50")


def ask(
    known: Representation, question: Question, seeds: int, *, rank: bool
) -> dict[str, np.ndarray]:
    """AUC and accuracy of each user, and where its next plays come in a ranking of all items.

    The users are cut into five parts. A head is trained on all parts but one and tested on that
    one, so that every user is tested once by a head that has not seen it. Each seed cuts them in
    another way and draws other negatives; a user's figure is the mean over the seeds.

    Args:
        known: vectors of the question's users and of all items.
        question: the users' futures.
        seeds: how many.
        rank: whether all items are ranked as well, for the first seed. It needs negatives drawn
            from all alike: a head that was asked about popular items alone has learned nothing of
            popularity.

    Returns:
        by metric (users,) float64; NaN for who could not be asked.
    """
    known = scaled(known)
    metrics = (*PAIR_METRICS, *RANKING_METRICS) if rank else PAIR_METRICS
    found = {name: np.full((seeds, len(question.positives)), np.nan) for name in metrics}
    for seed in range(seeds):
        of_seed = {name: values[seed] for name, values in found.items()}
        _ask_once(known, question, seed, of_seed, rank=rank and seed == 0)
    return {name: _mean(values) for name, values in found.items()}


def _ask_once(
    known: Representation,
    question: Question,
    seed: int,
    found: dict[str, np.ndarray],
    *,
    rank: bool,
) -> None:
    """Ask every user once, and write down what comes of it by metric."""
    pairs = draw_pairs(question, EACH, np.random.default_rng(seed))
    if not len(pairs.user):
        return
    part = np.random.default_rng(seed).permutation(len(question.positives)) % PARTS
    for held_out in range(PARTS):
        tested = part[pairs.user] == held_out
        head = fit_head(known, pairs.where(~tested), np.random.default_rng([seed, held_out]))
        _answer(known, head, pairs.where(tested), found)
        if rank:
            _rank(known, head, np.flatnonzero(part == held_out), question, found)


def _mean(values: np.ndarray) -> np.ndarray:
    """Of the seeds that could ask, (users,); NaN where none could."""
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.nansum(values, axis=0) / (~np.isnan(values)).sum(axis=0)
    return mean


def _answer(known: Representation, head: Head, pairs: Pairs, found: dict[str, np.ndarray]) -> None:
    logits = head.logits(known, pairs)
    dots = np.einsum("nd,nd->n", known.users[pairs.user], known.items[pairs.item])
    begins = np.flatnonzero(np.diff(pairs.user, prepend=-1))
    for rows in np.split(np.arange(len(pairs.user)), begins[1:]):
        user, yes = pairs.user[rows[0]], pairs.played[rows]
        found["auc"][user] = auc(logits[rows][yes], logits[rows][~yes])
        right = (logits[rows] > head.threshold) == yes
        # Half by half, as if everybody were asked for as many negatives as positives.
        found["accuracy"][user] = (right[yes].mean() + right[~yes].mean()) / 2
        found["auc of dot products"][user] = auc(dots[rows][yes], dots[rows][~yes])


def _rank(
    known: Representation,
    head: Head,
    users: np.ndarray,
    question: Question,
    found: dict[str, np.ndarray],
) -> None:
    for first in range(0, len(users), USERS_AT_ONCE):
        some = users[first : first + USERS_AT_ONCE]
        for user, scores in zip(some, head.ranking(known, some), strict=True):
            wanted = question.positives[user]
            if len(wanted):
                hits = np.isin(highest(scores, FIRST), wanted)
                found["recall@50"][user] = hits.sum() / len(wanted)
                found["ndcg@50"][user] = ndcg(hits, len(wanted))
