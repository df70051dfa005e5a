"""``tasteprint evaluate future-listening``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from tasteprint.protocols.shared import (
    Asking,
    Comparison,
    embedded,
    say,
    show,
    tell,
    tell_of,
    would,
)

if TYPE_CHECKING:
    from evaluation.cohort import Cohort
    from models.baselines import Baseline


class FutureListening(Asking, Comparison):
    """Table 1: will a user listen to this track in the days to come?

    Compares the batch's user vectors with averages, and with baselines that are fitted to the same
    plays, and writes report.html, report.md and metrics.json. A baseline that an earlier run of the
    same has fitted is not fitted again.
    """

    baselines: tuple[str, ...] = ("nmf", "pmf", "lightfm", "dlrm", "vae", "als", "ease", "sasrec")
    """Which are fitted, for example als,ease; '[]' for averages and popularity alone."""
    trials: int = Field(0, ge=0)
    """Settings to try for each baseline, on the last days before as_of; 0: its own alone."""

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

        lake = self.lake
        batch = embedded(lake, self.batch)
        cohort = read_cohort(lake, batch, self.horizon_days, self.users, self.seed)
        facts = self._facts(cohort) | {"batch": batch.batch_id}
        tell(facts)
        baselines = self.chosen()
        if self.dry_run:
            would("compare", self.contenders(lake, batch, cohort, baselines))
            return
        if self.trials:
            baselines = self._searched(baselines, cohort)
        contenders = self.contenders(lake, batch, cohort, baselines)
        rows, aucs = future_listening(cohort, contenders, self.seeds, say, shuffle=self.shuffle)
        ours = contenders[MODEL]()
        names = item_names(lake, batch, cohort.item_ids)
        asked = [drawn for drawn in DRAWN if any(row.protocol.endswith(drawn) for row in rows)]
        for drawn in asked:
            show(f"negatives: {drawn}", f"{NAME}/{drawn}", rows, ("accuracy", "auc"))
        self.finish(
            Report(
                title=self.titled("Future listening"),
                facts=[*facts.items()],
                measured=rows,
                tables=[
                    *(story.table_1(drawn, rows) for drawn in asked),
                    story.slices_table(sliced(lake, batch, cohort, aucs[MODEL])),
                    story.people(cohort, ours, names),
                    story.settings_table(baselines, self.trials),
                ],
                picture=taste_map(cohort, ours, names),
            )
        )

    def _searched(self, baselines: dict[str, Baseline], cohort: Cohort) -> dict[str, Baseline]:
        """The best settings of each baseline on plays before ``as_of``."""
        from evaluation.contenders import TITLES
        from evaluation.tuning import earlier, search

        before = earlier(cohort, self.horizon_days)
        found = {}
        for name, baseline in baselines.items():
            say(name)
            kept = Path(self.out) / "fitted"
            found[name] = search(
                baseline, before, self.trials, self.seed, kept, partial(tell_of, TITLES[name])
            ).baseline
        return found

    def _facts(self, cohort: Cohort) -> dict[str, str]:
        asked, _ = cohort.question("popularity")
        return {
            "users": f"{cohort.past.users:,}, of whom {len(asked):,} are asked",
            "items": f"{cohort.past.items:,}",
            "plays before": f"{len(cohort.past.user):,}",
            "horizon": f"{self.horizon_days:g} days",
            "seeds": str(self.seeds),
        }
