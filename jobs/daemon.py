"""Spark's daemon of Python workers, without what makes short tasks long.

Before every task a worker forgets what it knows of its path, and Python 3.11 then reads the
directory of ``pyspark.zip`` again, once for each of 16 folders in it; after every task it looks for
garbage among all objects of PyTorch. Together that is a quarter of a second of each task. So here
the installed ``pyspark`` is taken, the same code in plain files, and what modules hold is garbage
to nobody. ``spark.conf`` names this module as ``spark.python.daemon.module``.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ZIPS = ("pyspark*.zip", "py4j-*.zip")


def without_zips(path: Iterable[str]) -> list[str]:
    """The places of a search path that are no zips of Spark's."""
    return [place for place in path if not any(map(Path(place).match, ZIPS))]


def frozen_after(task: Callable[..., int | None]) -> Callable[..., int | None]:
    """The same task, after which whatever newly imported modules hold is never looked at again."""
    seen = 0

    def done(*files: Any) -> int | None:
        nonlocal seen
        result = task(*files)
        if len(sys.modules) != seen:
            seen = len(sys.modules)
            gc.collect()
            gc.freeze()
        return result

    return done


def main() -> None:
    """Serve workers, as ``pyspark.daemon`` does, to whoever has ``pyspark`` installed."""
    whole = sys.path[:]
    sys.path[:] = without_zips(whole)
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("py4j") is None:
        sys.path[:] = whole
    sys.path_importer_cache.clear()  # what is cached is read again as well
    from pyspark import daemon

    daemon.worker_main = frozen_after(daemon.worker_main)
    daemon.manager()


if __name__ == "__main__":
    main()
