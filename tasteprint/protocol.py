"""What every command of ``tasteprint evaluate`` is told, and how it says what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.errors import InputError
from tasteprint.settings import OnLakehouse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.measured import Measured
    from evaluation.report import Report
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

console = Console(highlight=False)


class Protocol(OnLakehouse):
    """A published protocol over one batch, with a report."""

    batch: str = "live"
    """A batch: id, live or legacy; plays after its as_of are what is foretold."""
    out: str
    """Folder for the report."""
    seeds: int = Field(5, ge=2)
    """Parts that the users are cut into: each is asked once, by a head trained on the others."""
    shuffle: bool = False
    """Give everybody somebody else's future: an AUC that is then not near 0.5 tells of a leak."""
    dry_run: bool = False
    """Say what would be compared, and stop."""

    def opened(self) -> tuple[Lakehouse, Batch]:
        """The lakehouse, and the batch that is measured.

        Raises:
            InputError: it has no user vectors.
        """
        lake = self.lake
        batch = lake.batches.get(self.batch)
        if batch.model_uri is None or "user_embeddings" not in batch.tables:
            raise InputError(f"batch {batch.batch_id} has no user vectors to evaluate")
        return lake, batch

    def titled(self, name: str) -> str:
        """The report's title."""
        return name + (", shuffled" if self.shuffle else "")

    def write(self, report: Report) -> None:
        """Write the three files, and say where."""
        from evaluation.report import REPORT, write

        write(report, Path(self.out))
        console.print(f"Report: {Path(self.out) / REPORT}", soft_wrap=True)


def print_facts(facts: Mapping[str, str]) -> None:
    """Say who is asked what."""
    for name, value in facts.items():
        console.print(f"[dim]{name}[/] {escape(value)}")


def print_comparison(title: str, protocol: str, rows: Sequence[Measured]) -> None:
    """A row for each representation."""
    from evaluation.contenders import TITLES

    of = {(row.representation, row.metric): row for row in rows if row.protocol == protocol}
    table = Table(box=None, title=title, title_justify="left")
    for name in ("", "accuracy", "AUC", "user model better by (AUC)"):
        table.add_column(name, justify="right" if name else "left")
    for name in dict.fromkeys(name for name, _ in of):
        gain = of.get((name, "auc gain"))
        said = f"{gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]" if gain else ""
        table.add_row(
            escape(TITLES[name]),
            f"{of[name, 'accuracy'].value:.4f}",
            f"{of[name, 'auc'].value:.4f}",
            escape(said),
        )
    console.print(table)
