"""A disk of a few megabytes that a test may fill, or make read-only; only root can have one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MOUNT, UNMOUNT = shutil.which("mount"), shutil.which("umount")


class SmallDisk:
    """A tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, how: str) -> None:
        """Make it ``ro`` or ``rw``."""
        subprocess.run([MOUNT, "-o", f"remount,{how}", self.folder], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one, and let it go with all that is on it."""
    if os.geteuid() != 0 or MOUNT is None or UNMOUNT is None:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    mount = [MOUNT, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run([UNMOUNT, "--lazy", folder], check=True)
