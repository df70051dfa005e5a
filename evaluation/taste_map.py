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
NEAREST = 10  # items among which a user stands
ABOUT = (
    "Items are laid out in two dimensions by t-SNE of cosines, so only neighbourhoods mean "
    f"anything; each user stands in the middle of the {NEAREST} that score highest. Hover for "
    "names."
)
FEWEST = 5  # items; of fewer there is no map


def taste_map(cohort: Cohort, known: Representation, names: np.ndarray) -> Picture | None:
    """A plot of the most played items and some users; None for too few of them.

    t-SNE (van der Maaten and Hinton, JMLR 2008) of the items' cosines. Users among them would be
    a crowd of their own, for a mean is nearer to other means than to what it is the mean of.
    """
    import plotly.graph_objects as go
    from sklearn.manifold import TSNE

    items = np.argsort(-cohort.plays, kind="stable")[:MOST_ITEMS]
    heard = np.flatnonzero(~cohort.past.silent())
    rng = np.random.default_rng(0)
    users = rng.choice(heard, min(len(heard), MOST_USERS), replace=False)
    if len(items) < FEWEST:
        return None
    perplexity = min(30.0, (len(items) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="random", random_state=0)
    place = layout.fit_transform(unit(known.items[items]))  # (I, 2)
    first = np.argsort(-known.users[users] @ known.items[items].T, axis=1)[:, :NEAREST]
    middle = np.median(place[first], axis=1)  # (U, 2)
    played = [f"plays {favourites(cohort, names, int(user))}" for user in users]
    figure = go.Figure()
    figure.add_trace(_points(place, "items", names[items].tolist(), {"size": 5, "opacity": 0.6}))
    figure.add_trace(_points(middle, "users", played, {"size": 7, "symbol": "diamond-open"}))
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
