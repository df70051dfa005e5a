"""Which version of the code wrote something."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def code_version() -> str:
    """Version of the package, and the commit where the code is a checkout."""
    version = metadata.version("tasteprint")
    git = shutil.which("git")  # images have none
    if git is None:
        return version
    commit = subprocess.run(
        [git, "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{version}+{commit.stdout.strip()}" if commit.returncode == 0 else version
