from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from lakehouse.batches import BatchRegistry
from schemas.arrow import list_column
from schemas.contract import contract

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def batches(lake):
    return BatchRegistry(lake)


@pytest.fixture
def batch(batches):
    """A batch that may be written."""
    return batches.open(AS_OF, {"listens": 3}, "settings", "0.1.0")


@pytest.fixture
def track_vectors():
    """Six good rows of a batch, as a function of its id and a seed."""

    def rows(batch_id: str = "b1", seed: int = 0) -> pa.Table:
        vectors = np.random.default_rng(seed).normal(size=(6, 80))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return pa.table(
            {
                "batch_id": [batch_id] * 6,
                "item_id": [f"t{number}" for number in range(6)],
                "vector": list_column(vectors),
                "support": pa.array([seed] * 6, pa.int64()),
                "source": ["co-occurrence", "content", "blend"] * 2,
            }
        ).cast(contract("track_vectors").arrow_schema)

    return rows
