"""``tasteprint evaluate stability``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasteprint.protocols.shared import Protocol, console, embedded, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.protocols.stability import Moved
    from evaluation.report import Picture
    from lakehouse.batch import Batch


class Stability(Protocol):
    """How far do users and items move between two batches, before and after a bridge?

    Fits a bridge on one half of what both know, measures the other half, and writes report.html,
    report.md and metrics.json. No bridge is written to the lakehouse, and no gate is asked.
    """

    batch: str = "live"
    """The new batch: an id, live or legacy."""
    other: str = "legacy"
    """The old batch: an id, live or legacy."""

    def cli_cmd(self) -> None:
        """Fit, measure, write."""
        from evaluation.protocols.stability import figures, stability, table
        from evaluation.report import Report

        lake = self.lake
        new, old = (embedded(lake, name) for name in (self.batch, self.other))
        facts = {"new batch": _said(new), "old batch": _said(old)}
        tell(facts)
        if self.dry_run:
            return
        moved = stability(lake, new, old)
        counted = {f"{one.side} measured": f"{one.count:,}" for one in moved}
        tell(counted)
        rows = figures(moved)
        for row in rows:
            way = row.protocol.rpartition("/")[2]
            console.print(f"{row.representation}, {way}: {row.metric} {row.value:.4f}")
        self.finish(
            Report(
                title="Stability",
                facts=[*(facts | counted).items()],
                measured=rows,
                tables=[table(moved, rows)],
                picture=_picture(moved),
            )
        )


def _picture(moved: Sequence[Moved]) -> Picture:
    from evaluation.histogram import histogram
    from evaluation.report import Picture

    users = next(one for one in moved if one.side == "users")
    return Picture(
        title="Cosines of users",
        about="A user's new vector beside its old one: as they are, and through the bridge.",
        html=histogram(users.cosines, "cosine"),
    )


def _said(batch: Batch) -> str:
    return f"{batch.batch_id}, as of {batch.as_of:%Y-%m-%d %H:%M} UTC"
