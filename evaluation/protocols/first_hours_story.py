"""What the first hours came to, as tables and a picture that people can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evaluation.contenders import MODEL, TITLES
from evaluation.protocols.comparison import comparison, reported
from evaluation.protocols.first_hours import (
    COMPLETED,
    FEWEST,
    NAME,
    NEXT,
    NOT_COMPLETED,
    PUBLISHED,
    SEEN,
    Plan,
    point,
)
from evaluation.report import Picture, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.measured import Measured

COLOURS = {
    MODEL: "31, 119, 180",
    "popularity": "127, 127, 127",
    "picks": "44, 160, 44",
    "average": "255, 127, 14",
    "average_7d": "148, 103, 189",
}
ABOUT = {
    COMPLETED: "Newcomers of whom nothing is known but their profile and picks, asked about their "
    "first hours. Negatives in proportion to plays before the batch's moment. Gains of the user "
    "model over each row, beside the published ones.",
    NOT_COMPLETED: "The same for those who did not complete onboarding.",
}


def facts(plan: Plan) -> dict[str, str]:
    """Who the newcomers are, what was picked, who is asked, and what is left out."""
    picks = plan.people.picks
    kind = "favourites of later plays stand in" if plan.stand_in else "from onboarding"
    few = {name: cuts for name, cuts in plan.asked.items() if name not in plan.measured}
    told = {
        "newcomers": f"{len(plan.people.user_ids):,}, with {len(plan.people.user):,} plays",
        "picks": f"{len(picks.user):,} ({kind}); {picks.completed.sum():,} users completed",
        "asked": _counted(plan, list(plan.measured)),
    }
    return told | ({f"left out, below {FEWEST} users": _counted(plan, list(few))} if few else {})


def tables(plan: Plan, rows: Sequence[Measured]) -> list[Table]:
    """Table 2, in two parts, and the curve; those that anybody could be asked for."""
    found = []
    for name, published in PUBLISHED.items():
        if name in plan.measured:
            title = f"Table 2, onboarding {name}: {len(plan.asked[name].user):,} users"
            header, cells = comparison(f"{NAME}/{name}", rows, reported(published))
            found.append(Table(title, ABOUT[name], header, cells))
    return found + ([_curve(plan, rows)] if _points(plan) else [])


def picture(plan: Plan, rows: Sequence[Measured]) -> Picture | None:
    """AUC against plays seen, a line for each representation with its interval as a band."""
    if not _points(plan):
        return None
    import plotly.graph_objects as go

    figure = go.Figure()
    for name in COLOURS:
        for trace in _line(name, _of(plan, rows, name)):
            figure.add_trace(go.Scatter(**trace))
    figure.update_layout(
        xaxis={"type": "category", "title": "plays seen"},
        yaxis={"title": "AUC"},
        height=500,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        template="plotly_white",
    )
    return Picture(
        title="How quickly a newcomer is known",
        about=f"AUC over the next {NEXT} plays against the number of plays seen, with 95 % "
        "intervals. Each point has users of its own, those who play that much.",
        html=figure.to_html(full_html=False, include_plotlyjs="inline", div_id="first-hours"),
    )


def _curve(plan: Plan, rows: Sequence[Measured]) -> Table:
    header: list[str] = []
    cells: list[list[str]] = []
    for seen in _points(plan):
        header, some = comparison(f"{NAME}/{point(seen)}", rows, {})
        users = f"{len(plan.asked[point(seen)].user):,}"
        cells += [[str(seen), users, *row] for row in some]
    return Table(
        title="The curve",
        about=f"Having seen so many plays, and what the user told: which are the next {NEXT}? Each "
        "point has users of its own, those who play that much.",
        header=["plays seen", "users", *header],
        rows=cells,
    )


def _points(plan: Plan) -> list[int]:
    return [seen for seen in SEEN if point(seen) in plan.measured]


def _counted(plan: Plan, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {len(plan.asked[name].user):,}" for name in names)


def _of(plan: Plan, rows: Sequence[Measured], name: str) -> dict[int, Measured]:
    """One representation's AUC by plays seen."""
    by_protocol = {
        row.protocol: row for row in rows if row.representation == name and row.metric == "auc"
    }
    places = {seen: f"{NAME}/{point(seen)}" for seen in _points(plan)}
    return {seen: by_protocol[place] for seen, place in places.items() if place in by_protocol}


def _line(name: str, of: dict[int, Measured]) -> list[dict[str, Any]]:
    """The band and the line, as plotly's arguments."""
    if not of:
        return []
    seen = [str(plays) for plays in of]
    high, low = [row.high for row in of.values()], [row.low for row in of.values()]
    return [
        {
            "x": seen + seen[::-1],
            "y": high + low[::-1],
            "fill": "toself",
            "fillcolor": f"rgba({COLOURS[name]}, 0.15)",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "legendgroup": name,
            "showlegend": False,
            "mode": "lines",
        },
        {
            "x": seen,
            "y": [row.value for row in of.values()],
            "name": TITLES[name],
            "line": {"color": f"rgb({COLOURS[name]})"},
            "legendgroup": name,
            "mode": "lines+markers",
        },
    ]
