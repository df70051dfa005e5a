"""What protocols have in common: which batch, what it is compared with, where the report goes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.errors import InputError
from tasteprint.settings import OnLakehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from evaluation.cohort import Cohort
    from evaluation.measured import Measured
    from evaluation.report import Report
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.baselines import Baseline, Representation

console = Console(highlight=False)


class Protocol(OnLakehouse):
    """A protocol that writes report.html, report.md and metrics.json."""

    batch: str = "live"
    """A batch: id, live or legacy."""
    out: str
    """Folder for the report."""
    dry_run: bool = False
    """Say what would be compared, and stop."""

    def finish(self, report: Report) -> None:
        """Write the report, and say where it is."""
        from evaluation.report import REPORT, write

        write(report, Path(self.out))
        console.print(f"Report: {Path(self.out) / REPORT}", soft_wrap=True)


class Asking(Protocol):
    """A protocol that asks each user about items, through a head trained on the other users."""

    seeds: int = Field(5, ge=1)
    """Times that all users are asked, with other negatives, by heads trained on 80 % of them."""
    shuffle: bool = False
    """Give everybody somebody else's answers: an AUC that is then not near 0.5 tells of a leak."""

    def titled(self, name: str) -> str:
        """The report's title."""
        return name + (", shuffled" if self.shuffle else "")


class Comparison(Protocol):
    """A protocol that compares the batch's user vectors with others, made of the same plays."""

    horizon_days: float = Field(7.0, gt=0)
    """Days after as_of in which plays count as later."""
    users: int = Field(20_000, ge=10)
    """Users at most, those who play later first; the baselines learn from their plays."""
    baselines: tuple[str, ...] = ()
    """Which are fitted, for example als,ease; '[]' for simple averages alone."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Hyperparameters of baselines, for example '{"als": {"alpha": 10}}'."""
    seed: int = 0
    """Seed of the choice of users and of the baselines' starts."""

    def contenders(
        self,
        lake: Lakehouse,
        batch: Batch,
        cohort: Cohort,
        baselines: Mapping[str, Baseline] | None = None,
    ) -> dict[str, Callable[[], Representation]]:
        """By name what makes each representation; what is at hand is made already.

        Args:
            lake: the lakehouse.
            batch: whose vectors are compared.
            cohort: whose plays the others are made of.
            baselines: to fit, by name; None for those that are named, as ``chosen`` has them.
        """
        from evaluation.contenders import MODEL, averages, learned, popularity, user_model

        ours = user_model(lake, batch, cohort)
        size = ours.users.shape[1]
        kept = Path(self.out) / "fitted"
        simple = {MODEL: ours, "popularity": popularity(cohort, size), **averages(cohort, size)}
        return {
            **{name: partial(_itself, known) for name, known in simple.items()},
            **{
                name: partial(learned, baseline, cohort.past, self.seed, kept)
                for name, baseline in (baselines or self.chosen()).items()
            },
        }

    def chosen(self) -> dict[str, Baseline]:
        """The baselines that are named, with their hyperparameters.

        Raises:
            InputError: there is no such baseline, it takes no such hyperparameter, or is not named.
        """
        from models.baselines import BASELINES
        from models.user_model import SIZE

        unknown = sorted({*self.baselines, *self.settings} - set(BASELINES))
        if unknown:
            raise InputError(
                f"there is no baseline {', '.join(unknown)}: there are {', '.join(BASELINES)}"
            )
        idle = sorted(set(self.settings) - set(self.baselines))
        if idle:
            raise InputError(
                f"--settings is for {', '.join(idle)}, which --baselines does not name"
            )
        try:
            return {
                name: BASELINES[name](size=SIZE, **self.settings.get(name, {}))
                for name in self.baselines
            }
        except ValidationError as error:
            raise InputError(f"--settings: {error}") from error


def embedded(lake: Lakehouse, name: str) -> Batch:
    """A batch that has user vectors.

    Raises:
        BatchError: there is no such batch.
        InputError: it has none.
    """
    batch = lake.batches.get(name)
    if batch.model_uri is None or "user_embeddings" not in batch.tables:
        raise InputError(f"batch {batch.batch_id} has no user vectors to evaluate")
    return batch


def tell(facts: Mapping[str, str]) -> None:
    """Print what is asked of whom."""
    for name, value in facts.items():
        console.print(f"[dim]{name}[/] {escape(value)}", soft_wrap=True)


def tell_of(title: str, what: str) -> None:
    """Print how far something is."""
    console.print(f"  [dim]{escape(title)}[/] {escape(what)}", soft_wrap=True)


def would(do: str, names: Iterable[str]) -> None:
    """Print what a dry run leaves undone."""
    console.print(f"[dim]would {do}[/] {', '.join(names)}")


def say(name: str) -> None:
    """Print whose turn it is: a representation's, by its title, or a table's."""
    from evaluation.contenders import TITLES

    console.print(f"… {escape(TITLES.get(name, name))}")


def show(title: str, protocol: str, rows: Sequence[Measured], metrics: Sequence[str]) -> None:
    """Print figures of each representation, and what ours gains over it in the last of them."""
    from evaluation.contenders import TITLES
    from evaluation.report import share

    of = {(row.representation, row.metric): row for row in rows if row.protocol == protocol}
    table = Table(box=None, title=title, title_justify="left")
    for name in ("", *metrics, f"user model better by ({metrics[-1]})"):
        table.add_column(name, justify="right" if name else "left")
    for name in dict.fromkeys(name for name, _ in of):
        gain = of.get((name, f"{metrics[-1]} gain"))
        figures = (f"{of[name, metric].value:.4f}" for metric in metrics)
        table.add_row(escape(TITLES[name]), *figures, escape(share(gain)) if gain else "")
    console.print(table)


def _itself(known: Representation) -> Representation:
    return known
