"""Where a batch's model places items among its users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.parts import READING
from schemas.arrow import list_column, matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def placed_items(lake: Lakehouse, batch: Batch) -> Iterator[pa.RecordBatch]:
    """Places of all items on the users' sphere, a part at a time: item_id, embedding.

    Args:
        lake: the lakehouse.
        batch: whose model is trained.
    """
    from models.predictor import UserPredictor  # and PyTorch, which takes seconds

    predictor = UserPredictor(batch.model_uri or "")
    tracks = lake.dataset("track_vectors", batch)
    for part in tracks.to_batches(columns=["item_id", "vector", "support"], **READING):
        if part.num_rows:
            places = predictor.place_items(matrix(part["vector"]), part["support"].to_numpy())
            columns = [part["item_id"], list_column(places)]
            yield pa.RecordBatch.from_arrays(columns, ["item_id", "embedding"])
