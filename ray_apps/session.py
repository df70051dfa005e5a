"""The Ray session of an app: the cluster it was submitted to, or one of its own."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL_FOOTER_READERS = "1"  # Ray starts 32 processes before it reads a first row: 14 s on two cores
LOCAL_OBJECT_STORE = 400_000_000  # bytes; Spark may be on the same machine


@contextmanager
def ray_session(*, show_workers: bool = False) -> Iterator[None]:
    """Join the cluster of ``RAY_ADDRESS`` (a submitted job has it), or start Ray on this machine.

    A session that is open already, as in tests, is used and left open.

    Args:
        show_workers: whether what the workers print is repeated here.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it says every line twice
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", LOCAL_FOOTER_READERS)
    import ray

    quiet_data()
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=show_workers)
    else:
        # Processes of one machine need no two seconds to notice one another's end.
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.3")
        ray.init(
            include_dashboard=False,
            object_store_memory=LOCAL_OBJECT_STORE,
            log_to_driver=show_workers,
            logging_level="ERROR",
            # Ray Train asks the dashboard every two seconds, and complains that there is none.
            logging_config=ray.LoggingConfig(log_level="ERROR"),
        )
    try:
        yield
    finally:
        ray.shutdown()


def quiet_data() -> None:
    """Let Ray Data of this process draw no bars: what it feeds says how far it has come."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    DataContext.get_current().enable_progress_bars = False
