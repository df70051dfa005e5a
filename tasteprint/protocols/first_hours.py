"""``tasteprint evaluate first-hours``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from schemas.errors import InputError
from tasteprint.protocols.shared import Asking, embedded, say, show, tell, would

if TYPE_CHECKING:
    from evaluation.catalogue import ByCountry, Catalogue
    from evaluation.protocols.first_hours import Plan
    from lakehouse.batch import Batch


class FirstHours(Asking):
    """Table 2: what will somebody play who has only just come?

    Asks users whom the batch has never seen, by what they told alone, and again after their first
    plays; writes report.html, report.md and metrics.json.
    """

    hours: float = Field(4.0, ge=0)
    """Hours from the first play on that are asked about."""
    first: int = Field(20, ge=1)
    """Plays that are asked about where those hours hold fewer."""
    users: int = Field(20_000, ge=30)
    """Newcomers at most, drawn at random."""
    seed: int = 0
    """Seed of the choice of users."""

    def cli_cmd(self) -> None:
        """Read, plan, ask, write."""
        from evaluation.catalogue import plays_by_country, read_catalogue
        from evaluation.newcomers import read_newcomers
        from evaluation.protocols.first_hours import planned

        lake = self.lake
        batch = embedded(lake, self.batch)
        catalogue = read_catalogue(lake, batch)
        people = read_newcomers(lake, batch, catalogue, self.users, self.seed)
        told = people.profiles["country"].to_numpy(zero_copy_only=False)
        countries = plays_by_country(lake, batch, catalogue, told)
        plan = planned(people, catalogue, self.hours, self.first)
        facts = self._facts(plan, catalogue, countries) | {"batch": batch.batch_id}
        tell(facts)
        if not plan.measured:
            raise InputError("there are too few newcomers for any figure")
        if self.dry_run:
            would("ask", plan.measured)
            return
        self._ask(plan, catalogue, countries, batch, facts)

    def _ask(
        self,
        plan: Plan,
        catalogue: Catalogue,
        countries: ByCountry | None,
        batch: Batch,
        facts: dict[str, str],
    ) -> None:
        from evaluation.newcomer_vectors import NewcomerVectors
        from evaluation.protocols import first_hours_story as story
        from evaluation.protocols.first_hours import NAME, first_hours
        from evaluation.report import Report

        vectors = NewcomerVectors.of(self.lake, batch, plan.people, catalogue, countries)
        rows = first_hours(plan, vectors, self.seeds, say, shuffle=self.shuffle)
        for name in plan.measured:
            show(name, f"{NAME}/{name}", rows, ("accuracy", "auc"))
        self.finish(
            Report(
                title=self.titled("First hours"),
                facts=[*facts.items()],
                measured=rows,
                tables=story.tables(plan, rows),
                picture=story.picture(plan, rows),
            )
        )

    def _facts(
        self, plan: Plan, catalogue: Catalogue, countries: ByCountry | None
    ) -> dict[str, str]:
        from evaluation.protocols.first_hours_story import facts

        told = "left out, for no newcomer tells a country"
        return {
            **facts(plan),
            "first hours": f"{self.hours:g} hours or {self.first} plays, whichever is more",
            "items": f"{len(catalogue.items):,}, played {catalogue.plays.sum():,.0f} times before",
            "popularity within the country": told
            if countries is None
            else f"{countries.plays.shape[1] - 1} countries",
            "seeds": str(self.seeds),
        }
