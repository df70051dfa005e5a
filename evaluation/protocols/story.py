"""What protocols came to, as tables that people can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evaluation.contenders import MODEL, TITLES
from evaluation.names import favourites, listed
from evaluation.neighbours import nearest_first
from evaluation.protocols.future_listening import NAME, PUBLISHED
from evaluation.report import Table, interval, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.cohort import Cohort
    from evaluation.measured import Measured
    from evaluation.slices import Slice
    from models.baselines import Representation

SHOWN, NEIGHBOURS, TOP = 5, 3, 5
ABOUT = {
    "popularity": "Negatives in proportion to earlier plays, as published: what is told apart is "
    "who likes what. Gains of the user model over each row, beside the published ones.",
    "uniform": "Negatives drawn alike from all items that had been played: knowing what is popular "
    "helps. The same head ranks all items, those known to the user included.",
    "upcoming": "Negatives in proportion to what is played within the horizon, new items included: "
    "which items are in fashion then helps nobody.",
}


def comparison(drawn: str, rows: Sequence[Measured]) -> Table:
    """A row for each representation: figures, and what ours gains over it."""
    published = {name: _said(*gains) for name, gains in PUBLISHED.items()}
    return versus(
        f"{NAME}/{drawn}",
        rows,
        (f"Table 1, negatives: {drawn}", ABOUT[drawn]),
        ("accuracy", "auc"),
        published if drawn == "popularity" else {},
    )


def versus(
    protocol: str,
    rows: Sequence[Measured],
    heading: tuple[str, str],
    gains: Sequence[str],
    published: Mapping[str, str],
) -> Table:
    """Every representation that a protocol measured, beside ours.

    Args:
        protocol: its name.
        rows: of this and of other protocols.
        heading: title, and what a reader has to know.
        gains: metrics whose gains are told; of the others figures alone.
        published: what others have reported of ours over a representation, by its name.
    """
    of = {(row.representation, row.metric): row for row in rows if row.protocol == protocol}
    metrics = [metric for name, metric in of if name == MODEL]
    told = [f"{metric} gain" for metric in gains]
    return Table(
        *heading,
        header=["representation", *metrics, *told, *(["published"] if published else [])],
        rows=[
            [
                TITLES[name],
                *(interval(of[name, metric]) for metric in metrics),
                *(share(of[name, gain]) if (name, gain) in of else "" for gain in told),
                *([published.get(name, "")] if published else []),
            ]
            for name in dict.fromkeys(name for name, _ in of)
        ],
    )


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


def _said(accuracy: float, auc: float) -> str:
    return f"accuracy {accuracy:+.1%}, AUC {auc:+.1%}"
