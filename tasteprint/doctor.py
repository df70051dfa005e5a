"""What is missing or wrong on this machine, and what to type."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from lakehouse.storage import Lakehouse
from schemas.errors import InputError
from schemas.settings import Settings
from tasteprint.opening import ROOT
from tasteprint.settings import DEFAULT_LAKEHOUSE

if TYPE_CHECKING:
    from collections.abc import Iterator

JAVA = 17
GIBIBYTE = 1 << 30
MEMORY = 6 * GIBIBYTE  # Spark's driver takes 2, Ray's workers and training the rest
DISK = 5 * GIBIBYTE
DELTA_JAR = "io.delta_delta-spark_4.1_2.13-4.4.0.jar"
IVY = ("~/.ivy2.5.2/jars", "~/.ivy2/jars")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was seen, and what to type where it is not right."""

    what: str
    seen: str
    remedy: str | None = None


class Doctor(Settings):
    """Look at this machine and say what is missing or wrong, and what to type."""

    lakehouse: str = DEFAULT_LAKEHOUSE
    """Folder or URI of the lakehouse that you mean to use."""

    def cli_cmd(self) -> None:
        """Print the findings; exit status 1 if anything needs doing."""
        findings = list(examine(self.lakehouse))
        table = Table(box=None, show_header=False)
        for finding in findings:
            mark = "[green]✓[/]" if finding.remedy is None else "[red]✗[/]"
            table.add_row(mark, finding.what, finding.seen)
            if finding.remedy is not None:
                table.add_row("", "", f"[bold]{finding.remedy}[/]")
        Console(highlight=False).print(table)
        if any(finding.remedy for finding in findings):
            raise SystemExit(1)


def examine(lakehouse: str) -> Iterator[Finding]:
    """Look at everything a run needs."""
    yield _python()
    yield _java()
    yield from _versions()
    yield _delta_jar()
    yield _memory()
    yield _disk()
    yield _lakehouse(lakehouse)


def _python() -> Finding:
    seen = ".".join(str(part) for part in sys.version_info[:3])
    fits = sys.version_info >= (3, 11)
    return Finding("Python", seen, None if fits else "make PYTHON=python3.11 install")


def _java() -> Finding:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin/java") if home else shutil.which("java")
    remedy = "sudo apt-get install openjdk-17-jre-headless   # or set JAVA_HOME to Java 17 or later"
    if java is None or not Path(java).exists():
        return Finding("Java", f"not found{f' in JAVA_HOME={home}' if home else ''}", remedy)
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = java_version(said)
    fits = version is not None and version >= JAVA
    return Finding("Java", f"{version or 'unknown'} ({java})", None if fits else remedy)


def java_version(said: str) -> int | None:
    """The major version in what ``java -version`` says, None where there is none."""
    found = re.search(r'version "(\d+)(?:\.(\d+))?', said)
    if found is None:
        return None
    major = int(found[1])
    return int(found[2]) if major == 1 and found[2] else major


def _versions() -> Iterator[Finding]:
    """Every requirement of the package against what is installed."""
    wrong = []
    for text in metadata.requires("tasteprint") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            seen = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(seen, prereleases=True):
            wrong.append(f"{requirement.name} is {seen}, and should be {requirement.specifier}")
    seen = "; ".join(wrong) or "fit one another"
    yield Finding("Python packages", seen, "make install" if wrong else None)


def _delta_jar() -> Finding:
    for folder in IVY:
        place = Path(folder).expanduser() / DELTA_JAR
        if place.exists():
            return Finding("Delta JAR", str(place))
    remedy = "spark-submit --properties-file spark.conf jobs/session.py   # fetches it, 87 MB"
    return Finding("Delta JAR", "not fetched yet", remedy)


def _memory() -> Finding:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdigit():
        size = min(size, int(limit.read_text()))
    remedy = "tasteprint run --events 20000   # or a machine with 6 GiB or more"
    return Finding("Memory", f"{size / GIBIBYTE:.1f} GiB", None if size >= MEMORY else remedy)


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free
    remedy = "free some space: a run of the defaults writes about 1 GiB"
    return Finding("Free disk", f"{free / GIBIBYTE:.0f} GiB", None if free >= DISK else remedy)


def _lakehouse(uri: str) -> Finding:
    try:
        Lakehouse(uri).check_writable()
    except InputError as error:
        return Finding(
            "Lakehouse", str(error), f"tasteprint doctor --lakehouse {DEFAULT_LAKEHOUSE}"
        )
    return Finding("Lakehouse", f"{uri} can be written")
