"""Items' vectors and supports, all variants in one row, on their way through Arrow batches.

A *variant* is the whole, or what is left without one fold of the users: ``VARIANTS``, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from jobs.cooccurrence import VARIANTS
from models.layout import VECTOR_SIZE
from schemas.arrow import list_column, matrix

if TYPE_CHECKING:
    from jobs.catalogue import Catalogue

MET = "item_id string, item int, vectors array<float>, supports array<float>"


def met_in(items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of co-occurrence, (N, variants, d), and the plays behind them, (N, variants)."""
    supports = matrix(items["supports"]).astype(float)
    return matrix(items["vectors"]).reshape(*supports.shape, VECTOR_SIZE), supports


def told(batch: pa.RecordBatch, vectors: np.ndarray, catalogue: Catalogue) -> pa.RecordBatch:
    """Items of a batch with other vectors, (N, variants, d), as ``MET`` has them."""
    items = batch["item"].to_numpy()
    supports = [catalogue.support_without(fold)[items] for fold in VARIANTS]
    columns = {
        "item_id": batch["item_id"],
        "item": batch["item"],
        "vectors": list_column(vectors.reshape(len(items), -1)),
        "supports": list_column(np.column_stack(supports)),
    }
    return pa.RecordBatch.from_pydict(columns)
