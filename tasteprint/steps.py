"""Running one step as a process: its output to a log, its progress to the screen."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

from schemas.errors import TasteprintError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

MARK = "error: "  # how entry points begin what they say to a person
# Ray repeats what its workers print on standard output, warnings too, behind their names.
OF_A_WORKER = re.compile(r"(\x1b\[\d+m)?\(\w+ pid=\d+[^)]*\)(\x1b\[0m)? (?P<said>.*)")
PROGRESS = re.compile(r"\w+: \w+ [\d,]+ of ")  # such as "train: epoch 3 of 20, …"
TICK = 0.2  # seconds between two looks at a running step
QUIET_TICK = 20.0  # seconds between two lines of a log that is no terminal


class StepError(TasteprintError):
    """A step ended on an error.

    Args:
        title: of the step.
        status: its exit status.
        said: what it said to the person, or the last of its output.
        log: where all of its output is.
    """

    def __init__(self, title: str, status: int, said: str, log: Path) -> None:
        self.status = status
        self.message = f"{title}: {said}\n  Everything it said: {log}"
        super().__init__(self.message)


def run_step(title: str, command: Sequence[str], log: Path, console: Console) -> None:
    """Run a command to its end, showing how long it has been at work and what it says of itself.

    Standard output is for the person, one line at a time; everything goes to the log.

    Raises:
        StepError: the command did not end well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment
        )
        latest = [""]
        reader = threading.Thread(target=_follow, args=(process.stdout, file, latest), daemon=True)
        reader.start()
        try:
            _watch(process, title, latest, began, console)
        except BaseException:  # Ctrl-C too: a step never outlives its runner
            process.terminate()
            process.wait()
            raise
        reader.join()
    seconds = time.monotonic() - began
    if process.returncode:
        console.print(f"[red]✗[/] {title} [dim]{seconds:.0f} s[/]")
        raise StepError(title, process.returncode, _said(log), log)
    console.print(f"[green]✓[/] {title} [dim]{seconds:.0f} s[/]")


def _follow(stream: Iterable[str] | None, file: IO[str], latest: list[str]) -> None:
    for line in stream or ():
        file.write(line)
        file.flush()
        of_a_worker = OF_A_WORKER.match(line)
        said = of_a_worker["said"] if of_a_worker else line.strip()
        if PROGRESS.match(said):
            latest[0] = said


def _watch(
    process: subprocess.Popen[str], title: str, latest: list[str], began: float, console: Console
) -> None:
    if not console.is_terminal:
        console.print(f"… {title}")
        while process.poll() is None:
            try:
                process.wait(timeout=QUIET_TICK)
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - began
                console.print(f"  {title}, {seconds:.0f} s {latest[0]}", markup=False)
        return
    with console.status(title) as status:
        while process.poll() is None:
            seconds = time.monotonic() - began
            status.update(f"{title} [dim]{seconds:.0f} s  {latest[0]}[/]")
            time.sleep(TICK)


def _said(log: Path) -> str:
    """The entry point's own error with its indented lines, or the last lines of anything else."""
    lines = log.read_text(errors="replace").splitlines()
    marked = [number for number, line in enumerate(lines) if line.startswith(MARK)]
    if marked:
        first, *rest = lines[marked[-1] :]
        indented = itertools.takewhile(lambda line: line.startswith("  "), rest)
        return "\n".join([first.removeprefix(MARK), *indented])
    return "it ended on an error of its own:\n" + "\n".join(f"    {line}" for line in lines[-15:])
