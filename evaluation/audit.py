"""The last gate of a batch: are all tables there, and are the vectors any good?

::

    python -m evaluation.audit --lakehouse URI --batch-id ID

Runs the future-listening test, writes it to the batch and into its report, and makes the batch a
candidate, or says why not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from evaluation.future_listening import MODEL, beside_live, future_listening
from evaluation.neighbours import nearest_users
from lakehouse.checks import Check, Verdict, level_of
from lakehouse.gate import settled
from lakehouse.report import write_report
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from schemas.contract import contract
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.batch import Batch

NEEDED = ("track_vectors", "user_features", "user_embeddings")
CHANCE = 0.5
SHOWN_USERS, SHOWN_NEIGHBOURS = 2, 4


class Audit(Settings):
    """Measure a batch on plays it has not seen, and make it a candidate if its gates passed."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch, whose users are embedded."""
    horizon_days: float = 7.0
    """Days after as_of in which plays are foretold."""
    seed: int = 0
    """Seed of the negatives and of the bootstrap."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Test, check, record; GateError if the batch cannot be a candidate."""
    args = Audit.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "audit")
    batch = lake.batches.to_write(args.batch_id)
    missing = [table for table in NEEDED if table not in batch.tables]
    tests = {} if missing else measure(lake, batch, args.horizon_days, args.seed)
    found = Verdict(
        run_id=batch.batch_id,
        table="batch",
        rows=1,
        checks=[
            _tables_present(missing),
            *_better_than_chance(tests.get("future_listening")),
            *_beside_live(tests.get("beside_live")),
        ],
    )
    verdict = settled(lake, found)
    lake.batches.record(batch.batch_id, metrics=json.dumps(tests))
    write_report(lake, batch.batch_id)
    verdict.require(lake.report_uri(batch.batch_id))
    users = (tests["future_listening"] or {}).get("users", 0)
    clock.finish(batch.batch_id, rows_in=users, rows_out=users)
    write_report(lake, batch.batch_id)
    lake.batches.record(batch.batch_id, state="candidate", gates={"batch": verdict.outcome})


def measure(lake: Lakehouse, batch: Batch, horizon_days: float, seed: int) -> dict[str, Any]:
    """Everything that is measured of a batch, ready for JSON."""
    return {
        "future_listening": future_listening(lake, batch, horizon_days, "after", seed),
        "future_listening_known": future_listening(lake, batch, horizon_days, "before", seed),
        "beside_live": beside_live(lake, batch, horizon_days, seed),
        "neighbours": nearest_users(lake, batch, SHOWN_USERS, SHOWN_NEIGHBOURS),
    }


def _tables_present(missing: list[str]) -> Check:
    return Check(
        check="batch.tables",
        expectation="every table of the batch is published",
        column=None,
        level="fail",
        success=not missing,
        expected=", ".join(NEEDED),
        observed=f"missing: {', '.join(missing)}" if missing else "all are there",
        unexpected_count=len(missing),
        examples=[],
    )


def _better_than_chance(test: dict[str, Any] | None) -> list[Check]:
    """The vectors must tell the future better than chance does; without one nothing is said."""
    if test is None:
        return []
    reached = next(row["auc"] for row in test["rows"] if row["name"] == MODEL)
    return [
        Check(
            check="batch.better_than_chance",
            expectation="the vectors tell what users go on to play better than chance does",
            column=None,
            level="fail",
            success=reached > CHANCE,
            expected=f"AUC above {CHANCE}",
            observed=f"AUC {reached:.4f} over {test['users']} users",
            unexpected_count=0,
            examples=[],
        )
    ]


def _beside_live(test: dict[str, Any] | None) -> list[Check]:
    """They must tell it about as well as the live batch's do, as the contract has it."""
    if test is None:
        return []
    agreed = contract("user_embeddings").live_checks
    bound = next(item for item in agreed if item.check == "future_listening")
    new, live = (row["auc"] for row in test["rows"])
    level, success = level_of(live - new, bound.warn, bound.fail, below=False)
    low, high = test["rows"][1]["interval"]
    return [
        Check(
            check="live.future_listening",
            expectation=bound.name,
            column=None,
            level=level,
            success=success,
            expected=f"an AUC at most {bound.fail} below the live batch's",
            observed=f"AUC {new:.4f}, the live batch's {live:.4f}, "
            f"{new - live:+.4f} [{low:+.4f}, {high:+.4f}] over {test['users']} users",
            unexpected_count=0,
            examples=[],
        )
    ]


if __name__ == "__main__":
    main()
