"""How a step is started: the same entry points, on this machine or on a cluster."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import GateError, InputError
from schemas.stores import DELTA_PACKAGE, HADOOP_AWS, is_s3
from tasteprint.opening import ROOT
from tasteprint.steps import StepError, run_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console


@dataclass(frozen=True)
class Step:
    """One process of the way."""

    name: str
    title: str
    command: Sequence[str]


def spark_step(
    name: str, title: str, job: str, arguments: Sequence[str], spark_submit: str
) -> Step:
    """A step that ``spark-submit`` starts, with these more arguments."""
    submit = str(Path(sys.executable).with_name("spark-submit"))
    conf = ["--properties-file", str(ROOT / "spark.conf")]
    if any(map(is_s3, arguments)):
        conf += ["--packages", f"{DELTA_PACKAGE},{HADOOP_AWS}"]
    conf += shlex.split(spark_submit)
    return Step(name, title, [submit, *conf, str(ROOT / f"jobs/{job}.py"), *arguments])


def ray_step(
    name: str, title: str, app: str, arguments: Sequence[str], ray_address: str | None
) -> Step:
    """A step that runs on Ray: a process of this machine, or a job that is submitted."""
    if ray_address is None:
        command = [sys.executable, str(ROOT / f"ray_apps/{app}.py"), *arguments]
        return Step(name, title, command)
    ray = str(Path(sys.executable).with_name("ray"))
    submit = [ray, "job", "submit", "--address", ray_address, "--working-dir", str(ROOT)]
    return Step(name, title, [*submit, "--", "python", f"ray_apps/{app}.py", *arguments])


def flags(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A step's recorded settings as the arguments that give them again."""
    for name, value in settings.items():
        flag = f"{prefix}{name.replace('_', '-')}"
        if isinstance(value, dict):
            yield from flags(value, f"{flag}.")
        elif isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif value is not None:
            yield from (f"--{flag}", str(value))


def log_file(lakehouse: str, step: str) -> Path:
    """Where a step's own output goes: beside a local lakehouse, else below the current folder."""
    folder = Path("var/logs") if "://" in lakehouse else Path(lakehouse).parent / "logs"
    return folder / f"{step}.log"


def execute(step: Step, lakehouse: str, console: Console) -> None:
    """Run a step to its end.

    Raises:
        GateError: a gate said no.
        InputError: something was wrong with what came in.
        StepError: it ended on another error.
    """
    try:
        run_step(step.title, step.command, log_file(lakehouse, step.name), console)
    except StepError as failure:
        if failure.status == GateError.exit_status:
            raise GateError(failure.message) from None
        if failure.status == InputError.exit_status:
            raise InputError(failure.message) from None
        raise
