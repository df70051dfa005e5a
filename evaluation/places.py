"""Where a batch's model places items among its users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import matrix

if TYPE_CHECKING:
    import numpy as np

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


def item_places(lake: Lakehouse, batch: Batch, ids: np.ndarray) -> np.ndarray:
    """Places of items on the users' sphere, (I, d) float32 unit rows.

    Args:
        lake: the lakehouse.
        batch: whose model is trained.
        ids: (I,) str, items of its ``track_vectors``.
    """
    from models.predictor import UserPredictor  # and PyTorch, which takes seconds

    wanted = pc.is_in(pc.field("item_id"), pa.array(ids, pa.string()))
    columns = ["item_id", "vector", "support"]
    rows = lake.dataset("track_vectors", batch).to_table(columns=columns, filter=wanted)
    place = pd.Index(rows["item_id"].to_numpy(zero_copy_only=False)).get_indexer(ids)
    rows = rows.take(place)
    predictor = UserPredictor(batch.model_uri or "")
    return predictor.place_items(matrix(rows["vector"]), rows["support"].to_numpy())
