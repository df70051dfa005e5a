"""Spark's daemon of Python workers, without what makes short tasks long.

Before every task a worker forgets what it knows of its path, and Python 3.11 then reads the
directories of ``pyspark.zip`` and of Delta's JARs again, tens of times; after every task it looks
for garbage among all objects of PyTorch. Together that is a quarter of a second of CPU for each
task, and more with more JARs. So here nothing is imported from those archives, for the installed
``pyspark`` is the same code in plain files, and what modules hold is garbage to nobody.
``spark.conf`` names this module as ``spark.python.daemon.module``.
"""

from __future__ import annotations

import gc
import importlib.util
import re
import sys
from typing import TYPE_CHECKING, Any
from zipimport import zipimporter

if TYPE_CHECKING:
    from collections.abc import Callable

ARCHIVES = re.compile(r"(/pyspark[^/]*\.zip|/py4j-[^/]*\.zip|\.jar)(/|$)")


def other_archives(place: str) -> zipimporter:
    """A path hook for all archives, such as those of ``--py-files``, but Spark's own and JARs.

    Raises:
        ImportError: nothing is imported from that place.
    """
    if ARCHIVES.search(place):
        raise ImportError(f"{place} holds nothing that a worker needs")
    return zipimporter(place)


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
    """Serve workers, as ``pyspark.daemon`` does."""
    whole = sys.path_hooks[:]
    sys.path_hooks[:] = [other_archives if hook is zipimporter else hook for hook in whole]
    sys.path_importer_cache.clear()
    if not all(map(importlib.util.find_spec, ("pyspark", "py4j"))):  # then they are in the zips
        sys.path_hooks[:] = whole
        sys.path_importer_cache.clear()
    from pyspark import daemon

    daemon.worker_main = frozen_after(daemon.worker_main)
    daemon.manager()


if __name__ == "__main__":
    main()
