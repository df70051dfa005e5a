"""Are users near whom they share something with? Table 3 of the published evaluation.

Every user ranks all others of the cohort by the cosine of their vectors. Whoever shares its cluster
is wanted (``evaluation.clusters``), and nDCG@50 says how far up they come: gain 1 each, and the
ideal has as many of the first 50 places as others share the cluster; Fazelnia et al., arXiv
2403.00584. Users who share it with nobody are ranked for the others, and not asked.

What neighbours drawn by lot would reach on average is a row of its own, for clusters may be large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evaluation.clusters import COUNTRY, CREATOR, CREATOR_AFTER, GENRE, ONBOARDING
from evaluation.contenders import LOT, MODEL
from evaluation.measured import Measured, measured
from evaluation.metrics import ndcg
from evaluation.neighbours import AT_ONCE, nearest_first
from evaluation.protocols.comparison import comparison
from evaluation.report import Table
from evaluation.scores import FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from evaluation.clusters import Clusters
    from models.baselines import Representation

NAME = "neighbourhoods"
METRIC = f"ndcg@{FIRST}"
PUBLISHED = {  # gains over the average of track vectors
    CREATOR: f"{0.029:+.1%}",
    COUNTRY: f"{0.055:+.1%}, by country of the artists",
    ONBOARDING: f"{0.262:+.1%}",
}
ABOUT = {
    CREATOR: "Users who had played the same creator most.",
    CREATOR_AFTER: "Users who go on to play the same creator most: nothing of it went in.",
    GENRE: "Users who had played the same genre most.",
    COUNTRY: "Users of one country, as they told it. The published figure is of the country of the "
    "artists played most, which no table here has.",
    ONBOARDING: "Users who picked the same thing at onboarding, one pick or more.",
}


def neighbourhoods(
    clusters: Sequence[Clusters],
    contenders: Mapping[str, Callable[[], Representation]],
    say: Callable[[str], None],
) -> list[Measured]:
    """Ask everybody who shares anything with anybody.

    Args:
        clusters: of the cohort's users, at least one.
        contenders: by name what makes a representation; each is asked for once, in turn.
        say: told before each contender is fitted.
    """
    everybody = np.arange(clusters[0].members.shape[0])
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {one.kind: {} for one in clusters}
    for name, make in contenders.items():
        say(name)
        near = nearest_first(make().users, everybody, FIRST)
        for one in clusters:
            found[one.kind][name] = {METRIC: ndcgs(one, near)}
    for one in clusters:
        found[one.kind][LOT] = {METRIC: by_lot(one)}
    return [
        row for kind, by_user in found.items() for row in measured(f"{NAME}/{kind}", by_user, MODEL)
    ]


def ndcgs(clusters: Clusters, near: np.ndarray) -> np.ndarray:
    """How far up those come who share a cluster, (U,) float64; NaN for who is not asked.

    Args:
        clusters: who shares one with whom.
        near: (U, K) int64, for each user others, nearest first.
    """
    found = np.full(len(near), np.nan)
    for rows, shared in _blocks(clusters):
        hits = np.take_along_axis(shared, near[rows], axis=1)  # (R, K)
        wanted = shared.sum(axis=1)
        found[rows] = [ndcg(*one) for one in zip(hits, wanted.tolist(), strict=True)]
    return found


def by_lot(clusters: Clusters) -> np.ndarray:
    """What neighbours in any order reach on average, (U,) float64; NaN for who is not asked."""
    others = clusters.members.shape[0] - 1
    full = np.ones(min(FIRST, others), bool)
    found = np.full(others + 1, np.nan)
    for rows, shared in _blocks(clusters):
        found[rows] = [count / others * ndcg(full, count) for count in shared.sum(axis=1).tolist()]
    return found


def table_3(clusters: Clusters, rows: Sequence[Measured]) -> Table:
    """A row for each representation, for people."""
    asked = clusters.asked()
    groups = np.count_nonzero(np.asarray(clusters.members.sum(axis=0)) > 1)
    about = f"{ABOUT[clusters.kind]} {len(asked):,} users are asked, of {groups:,} groups."
    gain = PUBLISHED.get(clusters.kind)
    published = {} if gain is None else {"average": gain}
    compared = comparison(f"{NAME}/{clusters.kind}", rows, published, (METRIC,))
    return Table(f"Table 3, {clusters.kind}", about, *compared)


def _blocks(clusters: Clusters) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Who is asked, some at a time, and with whom each shares a cluster, (R, U) bool."""
    asked = clusters.asked()
    for first in range(0, len(asked), AT_ONCE):
        rows = asked[first : first + AT_ONCE]
        yield rows, clusters.shared(rows)
