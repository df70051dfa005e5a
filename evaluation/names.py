"""What people call items and listeners: titles and creators, never user ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.cohort import Cohort
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

COLUMNS = ["item_id", "title", "creator_id", "creator_name"]


def item_names(lake: Lakehouse, batch: Batch, item_ids: np.ndarray) -> np.ndarray:
    """Title and creator of each item, its id where there is no title, (I,) str."""
    rows = lake.read("items", batch, COLUMNS).to_pandas()
    rows = rows.drop_duplicates("item_id").set_index("item_id").reindex(item_ids)
    title = rows["title"].fillna(pd.Series(item_ids, index=rows.index))
    creator = rows["creator_name"].fillna(rows["creator_id"])
    return np.where(creator.notna(), title.astype(str) + ", " + creator.astype(str), title)


def favourites(cohort: Cohort, names: np.ndarray, user: int, count: int = 3) -> str:
    """What a user played most, in words."""
    first, last = np.searchsorted(cohort.past.user, [user, user + 1])
    items, plays = np.unique(cohort.past.item[first:last], return_counts=True)
    top = items[np.lexsort((items, -plays))][:count]
    return "; ".join(names[top]) or "nothing yet"


def listed(names: np.ndarray, items: Sequence[int] | np.ndarray) -> str:
    """Some items in words."""
    return "; ".join(names[np.asarray(items, np.int64)])
