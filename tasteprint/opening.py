"""Opening a batch: which moment it stands for, and which versions of its inputs it reads."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from lakehouse.arrow import delta_dataset
from lakehouse.erasure import require_no_erasure
from schemas.errors import InputError
from schemas.version import code_version

if TYPE_CHECKING:
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

INPUTS = ("items", "users", "onboarding", "listens", "playlists")
ROOT = Path(__file__).resolve().parents[1]


def open_batch(
    lake: Lakehouse, holdout_days: float, as_of: datetime | None = None, settings: str = ""
) -> Batch:
    """Open a batch on the lakehouse as it is now.

    Args:
        lake: the lakehouse.
        holdout_days: without ``as_of``, the batch stands this long before the last event, so that
            what came after can tell how good it is.
        as_of: the moment itself.
        settings: what the run was asked for; a run with the same may take the batch up again.

    Raises:
        InputError: there are no listens, or none before the moment.
    """
    parents, moment = newest_inputs(lake, holdout_days, as_of)
    return lake.batches.open(moment, parents, settings, code_version())


def newest_inputs(
    lake: Lakehouse, holdout_days: float, as_of: datetime | None = None
) -> tuple[dict[str, int], datetime]:
    """The version of each input as it is now, and the moment to read them at.

    Raises:
        InputError: there are no listens, or none before the moment.
        BatchError: somebody is being erased.
    """
    require_no_erasure(lake)
    parents = {table: lake.ensure(table).version() for table in INPUTS}
    played = delta_dataset(lake.open("listens", parents["listens"])).to_table(columns=["played_at"])
    first, last = pc.min_max(played["played_at"]).as_py().values()
    if last is None:
        raise InputError(f"{lake.uri} has no listens: run jobs/ingest.py first")
    # Just after the last event when nothing is held out: a play at as_of itself comes after it.
    moment = as_of or last - timedelta(days=holdout_days) + timedelta(microseconds=1)
    if first >= moment.astimezone(UTC):
        day = "%Y-%m-%d %H:%M"
        raise InputError(
            f"no event lies before {moment:{day}} UTC: the first is at {first:{day}}, the last at "
            f"{last:{day}}; hold out fewer days"
        )
    return parents, moment


def settings_hash(**settings: object) -> str:
    """A short hash of what a run was asked for."""
    said = "\n".join(f"{name}={settings[name]}" for name in sorted(settings))
    return hashlib.sha256(said.encode()).hexdigest()[:16]
