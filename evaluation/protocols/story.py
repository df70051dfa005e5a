"""What protocols came to, as tables that people can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evaluation.contenders import TITLES
from evaluation.names import favourites, listed
from evaluation.neighbours import nearest_first
from evaluation.protocols.comparison import comparison, reported
from evaluation.protocols.future_listening import NAME, PUBLISHED
from evaluation.report import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.cohort import Cohort
    from evaluation.measured import Measured
    from evaluation.slices import Slice
    from models.baselines import Baseline, Representation

SHOWN, NEIGHBOURS, TOP = 5, 3, 5
ABOUT = {
    "popularity": "Negatives in proportion to earlier plays, as published: what is told apart is "
    "who likes what. Gains of the user model over each row, beside the published ones.",
    "uniform": "Negatives drawn alike from all items that had been played: knowing what is popular "
    "helps. The same head ranks all items, those known to the user included.",
    "upcoming": "Negatives in proportion to what is played within the horizon, new items included: "
    "which items are in fashion then helps nobody.",
}


def table_1(drawn: str, rows: Sequence[Measured]) -> Table:
    """Everybody's figures under one way to draw negatives."""
    published = reported(PUBLISHED) if drawn == "popularity" else {}
    compared = comparison(f"{NAME}/{drawn}", rows, published)
    return Table(f"Table 1, negatives: {drawn}", ABOUT[drawn], *compared)


def slices_table(found: Sequence[Slice]) -> Table:
    """Whom the user model serves worse."""
    return Table(
        title="Slices",
        about="AUC of the user model, first table, among users who have something in common. "
        "Marked: more than a tenth of what the whole is above chance is missing.",
        header=["slice", "users", "AUC"],
        rows=[
            [
                f"{one.kind}: {one.name}",
                str(one.users),
                f"{one.auc:.4f} [{one.low:.4f}, {one.high:.4f}]",
            ]
            for one in found
        ],
        marked=[row for row, one in enumerate(found) if one.behind],
    )


def settings_table(baselines: Mapping[str, Baseline], trials: int) -> Table:
    """How each baseline was set, and how that was found."""
    about = (
        f"The best of {trials} settings each: the defaults, and others drawn at random from a "
        "written space, judged by AUC on the last days before as_of."
        if trials
        else "As given, or the defaults; nothing was searched for."
    )
    rows = [[TITLES[name], _said(baseline)] for name, baseline in baselines.items()]
    return Table("Settings of the baselines", about, ["baseline", "settings"], rows)


def _said(baseline: Baseline) -> str:
    told = baseline.model_dump(mode="json").items()
    return ", ".join(f"{name} {value}" for name, value in told)


def people(cohort: Cohort, known: Representation, names: np.ndarray) -> Table:
    """Some of the most active users, the users nearest to them, and their first items."""
    plays = np.bincount(cohort.past.user, minlength=cohort.past.users)
    active = np.argsort(-plays, kind="stable")[:SHOWN]
    near = nearest_first(known.users, active, NEIGHBOURS)
    rows = []
    for user, others in zip(active.tolist(), near.tolist(), strict=True):
        first = np.argsort(-(known.items @ known.users[user]), kind="stable")[:TOP]
        rows.append(
            [
                favourites(cohort, names, user),
                " / ".join(favourites(cohort, names, other) for other in others),
                listed(names, first),
            ]
        )
    return Table(
        title="Some listeners",
        about="Told by what they play most; no ids, for a report outlives who is forgotten.",
        header=["plays", "nearest listeners play", "first items by dot product"],
        rows=rows,
    )
