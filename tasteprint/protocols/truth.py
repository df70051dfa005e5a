"""``tasteprint evaluate truth``."""

from __future__ import annotations

from pydantic import Field

from tasteprint.protocols.shared import Comparison, embedded, say, show, tell, would


class Truth(Comparison):
    """Simulated listeners alone: how much of what they truly like is in their vectors?

    A linear probe foretells each user's mixture over genres, beside averages, named baselines, and
    the best that can be told from the same plays. Writes report.html, report.md and metrics.json.
    """

    truth: str
    """Folder of what is true: `truth` beside the simulated events."""
    parts: int = Field(5, ge=2)
    """Parts that the users are cut into: each is asked about once, by a probe of the others."""

    def cli_cmd(self) -> None:
        """Read, fit, probe, write."""
        from evaluation.cohort import read_cohort
        from evaluation.protocols.truth import METRIC, NAME, recovered, truth_table
        from evaluation.report import Report
        from evaluation.truth import genres_heard, read_truth

        lake = self.lake
        batch = embedded(lake, self.batch)
        cohort = read_cohort(lake, batch, self.horizon_days, self.users, self.seed, must_play=False)
        truth = read_truth(self.truth, cohort.user_ids)
        facts = {
            "users": f"{cohort.past.users:,}",
            "plays before": f"{len(cohort.past.user):,}",
            "genres": str(truth.shape[1]),
            "batch": batch.batch_id,
        }
        tell(facts)
        contenders = self.contenders(lake, batch, cohort)
        del contenders["popularity"]  # tells nothing of anybody
        if self.dry_run:
            would("probe", contenders)
            return
        rows = recovered(truth, genres_heard(lake, batch, cohort), contenders, self.parts, say)
        show("What they truly like", NAME, rows, (METRIC,))
        self.finish(
            Report(
                title="What they truly like",
                facts=[*facts.items()],
                measured=rows,
                tables=[truth_table(rows)],
            )
        )
