"""A protocol's report: the same tables as HTML, as Markdown, and as flat JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, select_autoescape

from evaluation.measured import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from evaluation.measured import Measured

REPORT, MARKDOWN, METRICS = "report.html", "report.md", "metrics.json"


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        title: what it shows.
        about: what a reader has to know to read it.
        header: names of the columns; the first is the rows' own.
        rows: the cells.
        marked: numbers of the rows that should catch the eye.
    """

    title: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()


@dataclass(frozen=True)
class Picture:
    """Something to look at; it is in the HTML alone.

    Attributes:
        title: what it shows.
        about: what a reader has to know to read it.
        html: a piece of a page that draws itself.
    """

    title: str
    about: str
    html: str = field(repr=False)


@dataclass(frozen=True)
class Report:
    """What a protocol came to.

    Attributes:
        title: its name.
        facts: what was asked of whom, name and value.
        measured: every figure.
        tables: what people look at.
        picture: the last thing on the page, if there is one.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    measured: Sequence[Measured]
    tables: Sequence[Table]
    picture: Picture | None = None


def write(report: Report, out: Path) -> None:
    """Write the three files, each whole or not at all; the figures last."""
    out.mkdir(parents=True, exist_ok=True)
    pages = Environment(
        loader=PackageLoader("evaluation"),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = {
        REPORT: pages.get_template("report.html.j2").render(report=report),
        MARKDOWN: pages.get_template("report.md.j2").render(report=report),
        METRICS: as_json(report.measured),
    }
    for name, text in texts.items():
        aside = out / f"{name}.partial"
        aside.write_text(text)
        aside.replace(out / name)


def interval(row: Measured, digits: int = 4) -> str:
    """A figure and its interval, for a cell."""
    return f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"


def share(row: Measured) -> str:
    """A gain and its interval in per cent, for a cell."""
    return f"{row.value:+.1%} [{row.low:+.1%}, {row.high:+.1%}]"
