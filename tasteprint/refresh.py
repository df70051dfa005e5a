"""Newer vectors in the space of a batch that is served: features and embeddings, no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from lakehouse.storage import Lakehouse
from schemas.errors import BatchError
from tasteprint.engines import execute, flags, ray_step, spark_step
from tasteprint.opening import newest_inputs
from tasteprint.settings import Moment, OnEngines

if TYPE_CHECKING:
    from lakehouse.batch import Batch
    from tasteprint.engines import Step


class BatchesRefresh(OnEngines):
    """Bring the vectors of a live or legacy batch up to date, in its own space.

    Features and embeddings are made anew from what is known now, with the item vectors and the
    model that the batch has; readers see them all at once, after the gates. The same command again
    goes on with a refresh that was broken off.
    """

    batch: CliPositionalArg[str] = Field(default="live", description="An id, or live, or legacy.")
    holdout_days: float = 0.0
    """Days at the end that are kept out."""
    as_of: Moment | None = None
    """The moment to refresh to, UTC, instead of --holdout-days."""
    drop: bool = False
    """Give a refresh up that was broken off or that a gate has stopped."""

    def cli_cmd(self) -> None:
        """Refresh, and say as of when the batch is now."""
        console = Console(highlight=False)
        lake = Lakehouse(self.lakehouse)
        batch = lake.batches.get(self.batch)
        if self.drop:
            lake.batches.end_refresh(batch.batch_id, keep=False)
            console.print(f"{batch.batch_id} is as of {batch.as_of:%Y-%m-%d %H:%M} UTC, as before")
            return
        if batch.refresh is None:
            parents, moment = newest_inputs(lake, self.holdout_days, self.as_of)
            lake.batches.begin_refresh(batch.batch_id, moment, parents)
        refresh(self, lake, batch, console)


def refresh(args: OnEngines, lake: Lakehouse, batch: Batch, console: Console) -> Batch:
    """Take a refresh that has begun to its end.

    Raises:
        GateError: a gate said no; readers see what they saw, and the refresh waits.
        BatchError: the batch does not say how it was made.
    """
    for step in _steps(args, lake, batch):
        execute(step, args.lakehouse, console)
    done = lake.batches.end_refresh(batch.batch_id, keep=True)
    console.print(f"{done.batch_id} ({done.state}) is as of {done.as_of:%Y-%m-%d %H:%M} UTC now")
    return done


def refresh_promised(args: OnEngines, lake: Lakehouse, console: Console) -> None:
    """Refresh each legacy batch that consumers still read, to the moment of the live batch."""
    batches = lake.batches.list()
    live = next((batch for batch in batches if batch.state == "live"), None)
    for batch in batches:
        if batch.state != "legacy" or not batch.consumers or live is None:
            continue
        if batch.refresh is None:
            if batch.as_of >= live.as_of:
                continue
            lake.batches.begin_refresh(batch.batch_id, live.as_of, live.parents)
        console.print(f"{batch.batch_id} is legacy, and {', '.join(batch.consumers)} read it")
        refresh(args, lake, batch, console)


def _steps(args: OnEngines, lake: Lakehouse, batch: Batch) -> list[Step]:
    missing = {"features", "embed"} - batch.recipe.keys()
    if missing:
        raise BatchError(
            f"batch {batch.batch_id} does not say how its {' and '.join(sorted(missing))} were "
            "made: it is older than such records; make a new batch with `tasteprint run`"
        )
    where = ["--lakehouse", lake.uri, "--batch-id", batch.batch_id]
    features = [*where, *flags(batch.recipe["features"])]
    embed = [*where, *flags(batch.recipe["embed"])]
    return [
        spark_step(
            "refresh_features", "user features", "build_features", features, args.spark_submit
        ),
        ray_step("refresh_embed", "embed everyone", "batch_embed", embed, args.ray_address),
    ]
