"""All representations under one question, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.contenders import MODEL, TITLES
from evaluation.report import interval, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.measured import Measured


def comparison(
    protocol: str,
    rows: Sequence[Measured],
    published: Mapping[str, str],
    gains: Sequence[str] = ("accuracy", "auc"),
) -> tuple[list[str], list[list[str]]]:
    """A row for each representation: figures, and what ours gains over it.

    Args:
        protocol: whose figures.
        rows: of this and of other protocols.
        published: what others have reported of ours over a representation, by its name; a column
            of its own if there is any.
        gains: metrics whose gains are told; of the others figures alone.

    Returns:
        header and rows of a table.
    """
    of = {(row.representation, row.metric): row for row in rows if row.protocol == protocol}
    metrics = [metric for name, metric in of if name == MODEL]
    told = [f"{metric} gain" for metric in gains]
    header = ["representation", *metrics, *told, *(["published"] if published else [])]
    cells = [
        [
            TITLES[name],
            *(interval(of[name, metric]) for metric in metrics),
            *(share(of[name, gain]) if (name, gain) in of else "" for gain in told),
            *([published.get(name, "")] if published else []),
        ]
        for name in dict.fromkeys(name for name, _ in of)
    ]
    return header, cells


def reported(gains: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Published gains of accuracy and AUC, as shares, in words."""
    return {
        name: f"accuracy {accuracy:+.1%}, AUC {auc:+.1%}" for name, (accuracy, auc) in gains.items()
    }
