"""The catalogue of all tables as one HTML page, from their contracts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, select_autoescape

from schemas.contract import LIVE_ENGINE, ROW_RULE_ENGINE
from schemas.expectations import list_length
from schemas.lineage import BOX_HEIGHT, BOX_WIDTH, draw
from schemas.lint import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from open_data_contract_standard.model import DataQuality

    from schemas.contract import Column, Contract

TITLES = {
    "delivered": "What is delivered",
    "features": "Item vectors and user features",
    "vectors": "User vectors",
    "records": "What is kept about runs, batches and people's decisions",
}


def render(contracts: Sequence[Contract]) -> str:
    """The page as a string; every value from a contract is escaped."""
    environment = Environment(
        loader=PackageLoader("schemas"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stages = [
        (stage, TITLES[stage], [agreed for agreed in contracts if agreed.stage == stage])
        for stage in STAGES
    ]
    return environment.get_template("docs.html.j2").render(
        stages=stages,
        stage_of={agreed.name: agreed.stage for agreed in contracts},
        drawing=draw({agreed.name: agreed.inputs for agreed in contracts}),
        box=(BOX_WIDTH, BOX_HEIGHT),
        limits=limits,
        rules=rules,
    )


def limits(column: Column) -> str:
    """What values a column may hold, in words; empty where any may."""
    said = [", ".join(column.allowed)] if column.allowed else []
    if (column.minimum, column.maximum) != (None, None):
        said.append(_range(column.minimum, column.maximum))
    if column.min_length is not None:
        said.append("not empty" if column.min_length == 1 else f"{column.min_length} characters")
    if column.length != (None, None):
        said.append(list_length(column))
    return "; ".join(said)


def rules(agreed: Contract) -> list[tuple[DataQuality, str]]:
    """Each rule that does not need the live batch, and what happens where it is broken."""
    return [(rule, _consequence(rule)) for rule in agreed.rules if rule.engine != LIVE_ENGINE]


def _consequence(rule: DataQuality) -> str:
    if rule.engine == ROW_RULE_ENGINE:
        return "the row goes to quarantine"
    return "it is said" if rule.severity == "warning" else "nothing is published"


def _range(lowest: float | None, highest: float | None) -> str:
    if highest is None:
        return f"at least {lowest:,}"
    return f"at most {highest:,}" if lowest is None else f"{lowest:,} to {highest:,}"
