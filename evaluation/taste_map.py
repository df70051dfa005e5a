"""Users and items in two dimensions, for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.names import favourites
from evaluation.report import Picture
from models.features import unit

if TYPE_CHECKING:
    from evaluation.cohort import Cohort
    from models.baselines import Representation

MOST_ITEMS, MOST_USERS = 1_500, 500
ABOUT = (
    "Laid out in two dimensions by t-SNE of cosines, so only neighbourhoods mean anything; hover "
    "for names."
)
FEWEST = 5  # points; of fewer there is no map


def taste_map(cohort: Cohort, known: Representation, names: np.ndarray) -> Picture | None:
    """A plot of the most played items and some users; None for too few of them.

    t-SNE (van der Maaten and Hinton, JMLR 2008) of cosines.
    """
    import plotly.graph_objects as go
    from sklearn.manifold import TSNE

    items = np.argsort(-cohort.plays, kind="stable")[:MOST_ITEMS]
    heard = np.flatnonzero(~cohort.past.silent())
    rng = np.random.default_rng(0)
    users = rng.choice(heard, min(len(heard), MOST_USERS), replace=False)
    points = unit(np.concatenate([known.items[items], known.users[users]]))
    if len(points) < FEWEST:
        return None
    perplexity = min(30.0, (len(points) - 1) / 3)
    place = TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(points)
    figure = go.Figure()
    for title, rows, said, look in (
        ("items", slice(None, len(items)), names[items].tolist(), {"size": 5, "opacity": 0.6}),
        (
            "users",
            slice(len(items), None),
            [f"plays {favourites(cohort, names, int(user))}" for user in users],
            {"size": 7, "symbol": "diamond-open"},
        ),
    ):
        figure.add_trace(_points(place[rows], title, said, look))
    blank: dict[str, Any] = {"visible": False}
    figure.update_layout(
        xaxis=blank,
        yaxis=blank,
        height=700,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        template="plotly_white",
    )
    html = figure.to_html(full_html=False, include_plotlyjs="inline", div_id="taste-map")
    return Picture("Users and items on one sphere", ABOUT, str(html))


def _points(place: np.ndarray, title: str, said: list[str], look: dict[str, Any]) -> Any:
    import plotly.graph_objects as go

    return go.Scattergl(
        x=place[:, 0],
        y=place[:, 1],
        mode="markers",
        name=title,
        text=said,
        hoverinfo="text",
        marker=look,
    )
