"""The whole way, from events to promoted vectors, by the same entry points an operator runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.source import Delivery, check_source, load_source
from lakehouse.consumers import ConsumerRegistry
from lakehouse.steps import finished_steps
from lakehouse.storage import Lakehouse
from schemas.errors import BatchError, GateError, InputError
from schemas.version import code_version
from tasteprint.engines import Step, execute, ray_step, spark_step
from tasteprint.opening import ROOT, open_batch, settings_hash
from tasteprint.refresh import refresh_promised
from tasteprint.settings import OnEngines
from tasteprint.summary import summarise

if TYPE_CHECKING:
    from lakehouse.batch import Batch


class Run(OnEngines):
    """Go the whole way: ingest, item vectors, features, train, embed, audit, promote.

    Without --source, listeners are simulated first. Stops at the first gate that fails; the same
    command again goes on where it stopped, or, after a whole run, makes another batch.
    """

    source: str | None = None
    """Source file that maps your columns onto the contracts (sources/*.yaml)."""
    data: str | None = None
    """Folder or URI of the source's files."""
    events: int = 100_000
    """Plays to simulate where there is no source."""
    seed: int = 0
    """Seed of the simulation, of the factorisation and of training."""
    holdout_days: float | None = None
    """Days at the end kept out of the batch to test it on; the source file's, or 7."""
    horizon_days: float = 7.0
    """Days in which plays are foretold, in training and in the test."""
    epochs: int = 20
    """Passes of training over the users."""
    promote: bool = True
    """Promote the batch once its gates have passed and every consumer is ready for it."""
    dry_run: bool = False
    """Print the commands instead of running them."""

    def cli_cmd(self) -> None:
        """Run the steps that are not done, and sum up."""
        console = Console(highlight=False)
        if self.dry_run:
            for step in _plan(self, _simulated(self), "BATCH_ID"):
                console.print(f"[bold]{step.name}[/]\n  {shlex.join(step.command)}", soft_wrap=True)
            return
        Runner(self, console).run()


class Runner:
    """Runs what is left to do.

    Args:
        args: what the person asked for.
        console: where progress goes.
    """

    def __init__(self, args: Run, console: Console) -> None:
        self.args, self.console = args, console
        self.lake = Lakehouse(args.lakehouse)

    def run(self) -> None:
        """Every step in turn.

        Raises:
            GateError: a gate failed; nothing after it was run.
            InputError: something was wrong with what came in.
        """
        if (self.args.source is None) != (self.args.data is None):
            raise InputError("--source and --data go together")
        self.lake.check_writable()
        source, data = self.args.source, self.args.data
        if source is None or data is None:
            source, data = _simulated(self.args)
            self._execute(_simulate(self.args, data))
        delivery = check_source(source, data)
        if "ingest" in finished_steps(self.lake, delivery.ingest_id):
            self.console.print(
                "[green]✓[/] ingest [dim]these files are in the lakehouse already[/]"
            )
        else:
            self._execute(
                _plan(self.args, (source, data), "")[1 if self.args.source is None else 0]
            )
        batch = self._batch(delivery)
        done = finished_steps(self.lake, batch.batch_id)
        for step in _plan(self.args, (source, data), batch.batch_id):
            if step.name in ("simulate", "ingest"):
                continue
            if step.name in done:
                self.console.print(f"[green]✓[/] {step.title} [dim]done before[/]")
            else:
                self._execute(step, batch)
        refused = self._promote(batch) if self.args.promote else None
        refresh_promised(self.args, self.lake, self.console)
        now = self.lake.batches.get(batch.batch_id)
        summarise(self.console, self.lake, delivery.ingest_id, now)
        if refused is not None:
            raise refused

    def _promote(self, batch: Batch) -> BatchError | None:
        """Promote; whoever stands in the way is named at the end, below what the run came to."""
        try:
            ready = ConsumerRegistry(self.lake).ready_for(batch)
            self.lake.batches.promote(batch.batch_id, ready)
        except BatchError as error:
            return error
        return None

    def _batch(self, delivery: Delivery) -> Batch:
        """The batch of this run: one that an earlier run left unfinished, or a new one."""
        holdout = self.args.holdout_days
        if holdout is None:
            holdout = delivery.source.holdout_days
        settings = settings_hash(
            ingest=delivery.ingest_id,
            holdout=holdout,
            horizon=self.args.horizon_days,
            epochs=self.args.epochs,
            seed=self.args.seed,
            code=code_version(),
        )
        for batch in reversed(self.lake.batches.list()):
            unfinished = batch.state == "building" or (
                batch.state == "candidate" and self.args.promote
            )
            if batch.settings == settings and unfinished:
                self.console.print(f"going on with batch {batch.batch_id}")
                return batch
        batch = open_batch(self.lake, holdout, settings=settings)
        self.console.print(
            f"batch [bold]{batch.batch_id}[/] as of {batch.as_of:%Y-%m-%d %H:%M} UTC"
        )
        return batch

    def _execute(self, step: Step, batch: Batch | None = None) -> None:
        try:
            execute(step, self.args.lakehouse, self.console)
        except GateError:
            if batch is not None:
                self.lake.batches.record(batch.batch_id, state="failed")
            raise


def _simulated(args: Run) -> tuple[str, str]:
    """Source file and folder of the simulation."""
    if args.source is not None and args.data is not None:
        return args.source, args.data
    place = Path("var") if "://" in args.lakehouse else Path(args.lakehouse).parent
    return str(ROOT / "sources/simulation.yaml"), str(
        place / f"simulation-{args.events}-{args.seed}"
    )


def _simulate(args: Run, data: str) -> Step:
    arguments = ["--out", data, "--events", str(args.events), "--seed", str(args.seed)]
    return spark_step(
        "simulate",
        "simulate listeners",
        "simulate_events",
        arguments,
        args.spark_submit,
    )


def _plan(args: Run, source_and_data: tuple[str, str], batch_id: str) -> list[Step]:
    """Every step with its command; the simulation only where there is no source."""
    source, data = source_and_data
    lake = ["--lakehouse", Lakehouse(args.lakehouse).uri]  # whole, for steps that run elsewhere
    batch = [*lake, "--batch-id", batch_id]
    gap = load_source(source).session_gap_minutes
    seed, horizon = ["--seed", str(args.seed)], ["--horizon-days", str(args.horizon_days)]
    sessions = ["--session-gap", str(gap)]
    training = ["--training.epochs", str(args.epochs), "--training.seed", str(args.seed)]
    files = ["--source", source, "--data", data, *lake]
    audit = [sys.executable, "-m", "evaluation.audit", *batch, *horizon, *seed]
    vectors, features = [*batch, *sessions, *seed], [*batch, *sessions, *horizon]
    return [
        *([_simulate(args, data)] if args.source is None else []),
        spark_step("ingest", "ingest", "ingest", files, args.spark_submit),
        spark_step(
            "track_vectors", "item vectors", "build_track_vectors", vectors, args.spark_submit
        ),
        spark_step("features", "user features", "build_features", features, args.spark_submit),
        ray_step(
            "train",
            "train the user model",
            "train_user_model",
            [*batch, *training],
            args.ray_address,
        ),
        ray_step("embed", "embed everyone", "batch_embed", batch, args.ray_address),
        Step("audit", "audit", audit),
    ]
