"""``tasteprint evaluate neighbourhoods``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from schemas.errors import InputError
from tasteprint.protocols.shared import Comparison, embedded, say, show, tell, would

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.clusters import Clusters
    from evaluation.cohort import Cohort


class Neighbourhoods(Comparison):
    """Table 3: are users near whom they share a favourite, a country or a pick with?

    Every user ranks all others by cosine, with the batch's vectors, with averages, and with
    baselines where any are named. Writes report.html, report.md and metrics.json.
    """

    users: int = Field(5_000, ge=10)
    """Users at most, each ranked for each; those who play later come first."""

    def cli_cmd(self) -> None:
        """Read, fit, rank, write."""
        from evaluation.clusters import read_clusters
        from evaluation.cohort import read_cohort
        from evaluation.contenders import MODEL
        from evaluation.names import item_names
        from evaluation.protocols import story
        from evaluation.protocols.neighbourhoods import METRIC, NAME, neighbourhoods, table_3
        from evaluation.report import Report

        lake = self.lake
        batch = embedded(lake, self.batch)
        cohort = read_cohort(lake, batch, self.horizon_days, self.users, self.seed, must_play=False)
        clusters = read_clusters(lake, batch, cohort, self.horizon_days)
        facts = self._facts(cohort, clusters) | {"batch": batch.batch_id}
        tell(facts)
        if not clusters:
            raise InputError(f"no two users of batch {batch.batch_id} share anything that is known")
        contenders = self.contenders(lake, batch, cohort)
        del contenders["popularity"]  # by which all users are in one place
        if self.dry_run:
            would("compare", contenders)
            return
        rows = neighbourhoods(clusters, contenders, say)
        names = item_names(lake, batch, cohort.item_ids)
        for one in clusters:
            show(one.kind, f"{NAME}/{one.kind}", rows, (METRIC,))
        self.finish(
            Report(
                title="Neighbourhoods",
                facts=[*facts.items()],
                measured=rows,
                tables=[
                    *(table_3(one, rows) for one in clusters),
                    story.people(cohort, contenders[MODEL](), names),
                ],
            )
        )

    def _facts(self, cohort: Cohort, clusters: Sequence[Clusters]) -> dict[str, str]:
        from evaluation.clusters import KINDS

        known = {one.kind: len(one.asked()) for one in clusters}
        asked = {kind: f"{known[kind]:,} users" for kind in KINDS if kind in known}
        untold = [kind for kind in KINDS if kind not in known]
        return {
            "users": f"{cohort.past.users:,}",
            "plays before": f"{len(cohort.past.user):,}",
            "horizon": f"{self.horizon_days:g} days",
            **asked,
            **({"shared by nobody, or not told": ", ".join(untold)} if untold else {}),
        }
