from datetime import UTC, datetime

import pytest

from lakehouse.batches import BatchRegistry


@pytest.fixture
def batch_of():
    """Opens a batch in a lakehouse."""

    def opened(lake, state: str = "building"):
        registry = BatchRegistry(lake)
        batch = registry.open(datetime(2024, 3, 1, tzinfo=UTC), {"listens": 0}, "s", "0.1.0")
        return registry.record(batch.batch_id, state=state)

    return opened
