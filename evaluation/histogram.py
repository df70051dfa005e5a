"""How numbers are spread, for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.baselines.baseline import library

if TYPE_CHECKING:
    from collections.abc import Mapping

BINS = 50


def histogram(samples: Mapping[str, np.ndarray], axis: str) -> str:
    """Shares of each sample over the same bins, one over the other, as HTML.

    Only the shares leave this function: a report outlives who is forgotten.

    Args:
        samples: (N,) by name, N > 0.
        axis: what the numbers are.

    Raises:
        TasteprintError: plotly is not installed.
    """
    go = library("plotly.graph_objects")
    edges = np.histogram_bin_edges(np.concatenate([*samples.values()]), BINS)
    figure = go.Figure()
    for name, values in samples.items():
        shares = np.histogram(values, edges)[0] / len(values)
        figure.add_trace(_bars(go, name, shares, edges))
    figure.update_layout(
        barmode="overlay",
        bargap=0,
        xaxis_title=axis,
        yaxis={"title": "share", "tickformat": ".0%"},
        height=450,
        template="plotly_white",
    )
    return str(figure.to_html(full_html=False, include_plotlyjs="inline", div_id="histogram"))


def _bars(go: Any, name: str, shares: np.ndarray, edges: np.ndarray) -> Any:
    middle = (edges[1:] + edges[:-1]) / 2
    return go.Bar(x=middle.tolist(), y=shares.tolist(), name=name, opacity=0.6)
