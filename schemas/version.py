"""Which version of the code wrote something."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def code_version() -> str:
    """Version of the package, and the commit where the code is a checkout."""
    version = metadata.version("tasteprint")
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{version}+{commit.stdout.strip()}" if commit.returncode == 0 else version
