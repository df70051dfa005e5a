"""All representations under one question, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.contenders import MODEL, TITLES
from evaluation.report import interval, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.measured import Measured

GAINS = ("accuracy gain", "auc gain")


def comparison(
    protocol: str,
    rows: Sequence[Measured],
    published: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """A row for each representation: figures, and what ours gains over it.

    Args:
        protocol: whose figures.
        rows: figures of any protocols.
        published: gains of accuracy and AUC by representation, for a column of their own.

    Returns:
        header and rows of a table.
    """
    of = {(row.representation, row.metric): row for row in rows if row.protocol == protocol}
    names = list(dict.fromkeys(name for name, _ in of))
    metrics = [metric for name, metric in of if name == MODEL]
    header = ["representation", *metrics, *GAINS, *([] if published is None else ["published"])]
    cells = [
        [
            TITLES[name],
            *(interval(of[name, metric]) for metric in metrics),
            *(share(of[name, gain]) if (name, gain) in of else "" for gain in GAINS),
            *([] if published is None else [_said(published.get(name))]),
        ]
        for name in names
    ]
    return header, cells


def _said(gains: tuple[float, float] | None) -> str:
    return "" if gains is None else f"accuracy {gains[0]:+.1%}, AUC {gains[1]:+.1%}"
