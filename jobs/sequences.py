"""The last plays of each user, oldest first: rows of ``user_sequences``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from models.events import SECOND, hour_of

if TYPE_CHECKING:
    from jobs.plays import Plays


def last_plays(
    plays: Plays, length: int, duration_of_item: np.ndarray
) -> tuple[np.ndarray, dict[str, pa.Array]]:
    """The last so many plays of each user who has any.

    Args:
        plays: of a bucket.
        length: plays of a user at most.
        duration_of_item: (items,) float64 milliseconds, NaN where unknown.

    Returns:
        the users' rows (S,), and columns by name of S entries each.
    """
    begins = np.flatnonzero(np.diff(plays.user, prepend=-1))
    ends = np.append(begins[1:], len(plays.user))
    size = np.minimum(ends - begins, length)
    offsets = np.concatenate([[0], np.cumsum(size)])
    chosen = np.arange(offsets[-1]) + np.repeat(ends - offsets[1:], size)
    at = plays.at[chosen]
    gaps = np.diff(at, prepend=0) / SECOND
    gaps[offsets[:-1]] = 0.0
    entries = {
        "item_ids": plays.item_ids(chosen),
        "item_kinds": plays.words("item_kind", chosen),
        "gaps": pa.array(gaps.astype(np.float32)),
        "hours": pa.array(hour_of(at).astype(np.int32)),
        "completions": pa.array(_completions(plays, chosen, duration_of_item)),
        "surfaces": plays.words("surface", chosen),
        "devices": plays.words("device", chosen),
    }
    where = pa.array(offsets.astype(np.int32))
    columns = {name: pa.ListArray.from_arrays(where, values) for name, values in entries.items()}
    last = pa.array(plays.at[ends - 1]).cast(pa.timestamp("us", tz="UTC"))
    return plays.user[begins], {"last_played_at": last, **columns}


def _completions(plays: Plays, chosen: np.ndarray, duration_of_item: np.ndarray) -> np.ndarray:
    item = plays.item[chosen]
    duration = np.append(duration_of_item, np.nan)[item]
    share = plays.ms_played[chosen] / np.where(duration > 0, duration, np.nan)
    return np.nan_to_num(np.clip(share, 0.0, 1.0), nan=1.0).astype(np.float32)
