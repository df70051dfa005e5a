"""``tasteprint evaluate future-listening``: a batch beside averages and fitted baselines."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError
from rich.markup import escape

from schemas.errors import InputError
from tasteprint.protocol import Protocol, console, print_comparison, print_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluation.cohort import Cohort
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.baselines import Baseline, Representation


class FutureListening(Protocol):
    """Table 1: will a user listen to this track in the days to come?

    Compares the batch's user vectors with averages, and with baselines that are fitted to the same
    plays, and writes report.html, report.md and metrics.json. A baseline that an earlier run of the
    same has fitted is not fitted again.
    """

    horizon_days: float = Field(7.0, gt=0)
    """Days after as_of in which plays count."""
    users: int = Field(20_000, ge=10)
    """Users at most, those who play later first; the baselines learn from their plays."""
    baselines: tuple[str, ...] = ("nmf", "pmf", "lightfm", "dlrm", "vae", "als", "ease", "sasrec")
    """Which are fitted, for example als,ease; '[]' for averages and popularity alone."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Hyperparameters of baselines, for example '{"als": {"alpha": 10}}'."""
    seed: int = 0
    """Seed of the choice of users and of the baselines' starts."""

    def cli_cmd(self) -> None:
        """Read, fit, ask, write."""
        from evaluation.cohort import read_cohort
        from evaluation.contenders import MODEL
        from evaluation.names import item_names
        from evaluation.protocols import story
        from evaluation.protocols.future_listening import DRAWN, NAME, future_listening
        from evaluation.report import Report
        from evaluation.slices import sliced
        from evaluation.taste_map import taste_map

        lake, batch = self.opened()
        cohort = read_cohort(lake, batch, self.horizon_days, self.users, self.seed)
        facts = self._facts(cohort) | {"batch": batch.batch_id}
        print_facts(facts)
        contenders = self._contenders(lake, batch, cohort)
        if self.dry_run:
            console.print(f"[dim]would compare[/] {', '.join(contenders)}")
            return
        rows, aucs = future_listening(
            cohort, contenders, self.seeds, self._say, shuffle=self.shuffle
        )
        ours = contenders[MODEL]()
        names = item_names(lake, batch, cohort.item_ids)
        asked = [drawn for drawn in DRAWN if any(row.protocol.endswith(drawn) for row in rows)]
        report = Report(
            title=self.titled("Future listening"),
            facts=[*facts.items()],
            measured=rows,
            tables=[
                *(story.table_1(drawn, rows) for drawn in asked),
                story.slices_table(sliced(lake, batch, cohort, aucs[MODEL])),
                story.people(cohort, ours, names),
            ],
            picture=taste_map(cohort, ours, names),
        )
        for drawn in asked:
            print_comparison(f"negatives: {drawn}", f"{NAME}/{drawn}", rows)
        self.write(report)

    def _facts(self, cohort: Cohort) -> dict[str, str]:
        asked, _ = cohort.question("popularity")
        return {
            "users": f"{cohort.past.users:,}, of whom {len(asked):,} are asked",
            "items": f"{cohort.past.items:,}",
            "plays before": f"{len(cohort.past.user):,}",
            "horizon": f"{self.horizon_days:g} days",
            "seeds": str(self.seeds),
            "baselines' settings": json.dumps(self.settings) if self.settings else "the defaults",
        }

    def _contenders(
        self, lake: Lakehouse, batch: Batch, cohort: Cohort
    ) -> dict[str, Callable[[], Representation]]:
        """By name what makes each representation; what is at hand is made already."""
        from evaluation.contenders import MODEL, averages, learned, popularity, user_model

        ours = user_model(lake, batch, cohort)
        size = ours.users.shape[1]
        kept = Path(self.out) / "fitted"
        simple = {
            MODEL: ours,
            "popularity": popularity(cohort, size),
            **averages(cohort, size),
        }
        return {
            **{name: partial(_itself, known) for name, known in simple.items()},
            **{
                name: partial(learned, baseline, cohort.past, self.seed, kept)
                for name, baseline in self._fitted(size).items()
            },
        }

    def _fitted(self, size: int) -> dict[str, Baseline]:
        """The baselines with their hyperparameters.

        Raises:
            InputError: there is no such baseline, or it takes no such hyperparameter.
        """
        from models.baselines import BASELINES

        unknown = sorted({*self.baselines, *self.settings} - set(BASELINES))
        if unknown:
            raise InputError(
                f"there is no baseline {', '.join(unknown)}: there are {', '.join(BASELINES)}"
            )
        try:
            return {
                name: BASELINES[name](size=size, **self.settings.get(name, {}))
                for name in self.baselines
            }
        except ValidationError as error:
            raise InputError(f"--settings: {error}") from error

    def _say(self, name: str) -> None:
        from evaluation.contenders import TITLES

        console.print(f"… {escape(TITLES[name])}")


def _itself(known: Representation) -> Representation:
    return known
