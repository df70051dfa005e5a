"""The whole way, from events to promoted vectors, by the same entry points an operator runs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.source import Delivery, check_source, load_source
from lakehouse.batches import Batch, BatchRegistry
from lakehouse.steps import finished_steps
from lakehouse.storage import Lakehouse
from schemas.errors import GateError, InputError
from schemas.settings import Settings
from tasteprint.opening import ROOT, code_version, open_batch, settings_hash
from tasteprint.steps import StepError, run_step
from tasteprint.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_LAKEHOUSE = "var/lakehouse"
QUICK_START = "--driver-java-options -XX:TieredStopAtLevel=1"


class Run(Settings):
    """Go the whole way: ingest, item vectors, features, train, embed, audit, promote.

    Without --source, listeners are simulated first. Stops at the first gate that fails; the same
    command again goes on where it stopped, or, after a whole run, makes another batch.
    """

    lakehouse: str = DEFAULT_LAKEHOUSE
    """Folder or URI of the lakehouse; it is made if it is not there."""
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
    ray_address: str | None = None
    """Address of a Ray cluster's job server; without it Ray starts on this machine."""
    spark_submit: str = QUICK_START
    """More arguments for spark-submit; these start quickly, for up to a few million events."""
    promote: bool = True
    """Promote the batch once its gates have passed."""
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


@dataclass(frozen=True)
class Step:
    """One process of the way."""

    name: str
    title: str
    command: Sequence[str]


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
        registry = BatchRegistry(self.lake)
        if self.args.promote:
            registry.promote(batch.batch_id)
        summarise(self.console, self.lake, delivery.ingest_id, registry.get(batch.batch_id))

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
        for batch in reversed(BatchRegistry(self.lake).list()):
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
            run_step(step.title, step.command, log_file(self.args, step.name), self.console)
        except StepError as failure:
            if failure.status == GateError.exit_status:
                if batch is not None:
                    BatchRegistry(self.lake).record(batch.batch_id, state="failed")
                raise GateError(failure.message) from None
            if failure.status == InputError.exit_status:
                raise InputError(failure.message) from None
            raise


def log_file(args: Run, step: str) -> Path:
    """Where a step's own output goes: beside a local lakehouse, else below the current folder."""
    local = Path(args.lakehouse)
    folder = Path("var/logs") if "://" in args.lakehouse else local.parent / "logs"
    return folder / f"{step}.log"


def _simulated(args: Run) -> tuple[str, str]:
    """Source file and folder of the simulation."""
    if args.source is not None and args.data is not None:
        return args.source, args.data
    place = Path("var") if "://" in args.lakehouse else Path(args.lakehouse).parent
    return str(ROOT / "sources/simulation.yaml"), str(
        place / f"simulation-{args.events}-{args.seed}"
    )


def _simulate(args: Run, data: str) -> Step:
    command = ["--out", data, "--events", str(args.events), "--seed", str(args.seed)]
    return Step("simulate", "simulate listeners", _spark(args, "simulate_events", command))


def _plan(args: Run, source_and_data: tuple[str, str], batch_id: str) -> list[Step]:
    """Every step with its command; the simulation only where there is no source."""
    source, data = source_and_data
    lake = ["--lakehouse", Lakehouse(args.lakehouse).uri]  # whole, for steps that run elsewhere
    batch = [*lake, "--batch-id", batch_id]
    gap = load_source(source).session_gap_minutes
    seed, horizon = ["--seed", str(args.seed)], ["--horizon-days", str(args.horizon_days)]
    sessions = ["--session-gap", str(gap)]
    training = ["--training.epochs", str(args.epochs), "--training.seed", str(args.seed)]
    steps = [_simulate(args, data)] if args.source is None else []
    return [
        *steps,
        Step(
            "ingest", "ingest", _spark(args, "ingest", ["--source", source, "--data", data, *lake])
        ),
        Step(
            "track_vectors",
            "item vectors",
            _spark(args, "build_track_vectors", [*batch, *sessions, *seed]),
        ),
        Step(
            "features",
            "user features",
            _spark(args, "build_features", [*batch, *sessions, *horizon]),
        ),
        Step("train", "train the user model", _ray(args, "train_user_model", [*batch, *training])),
        Step("embed", "embed everyone", _ray(args, "batch_embed", batch)),
        Step("audit", "audit", [sys.executable, "-m", "evaluation.audit", *batch, *horizon, *seed]),
    ]


def _spark(args: Run, job: str, arguments: Sequence[str]) -> list[str]:
    submit = str(Path(sys.executable).with_name("spark-submit"))
    conf = ["--properties-file", str(ROOT / "spark.conf"), *shlex.split(args.spark_submit)]
    return [submit, *conf, str(ROOT / f"jobs/{job}.py"), *arguments]


def _ray(args: Run, app: str, arguments: Sequence[str]) -> list[str]:
    if args.ray_address is None:
        return [sys.executable, str(ROOT / f"ray_apps/{app}.py"), *arguments]
    ray = str(Path(sys.executable).with_name("ray"))
    submit = [ray, "job", "submit", "--address", args.ray_address, "--working-dir", str(ROOT)]
    return [*submit, "--", "python", f"ray_apps/{app}.py", *arguments]
