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
def batch(lake, batches):
    """A batch that may be written; it knows the items t0 to t5."""
    rows = [{"item_id": f"t{number}", "kind": "track"} for number in range(6)]
    lake.append("items", pa.Table.from_pylist(rows, schema=contract("items").arrow_schema))
    pins = {"listens": 3, "items": lake.open("items").version()}
    return batches.open(AS_OF, pins, "settings", "0.1.0")


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


@pytest.fixture(scope="session")
def rows_of():
    """Rows of any contract, as a function of its name and what some columns shall hold.

    What is not said is filled with something that fits the type and depends on the row's number.
    """

    def made(table: str, *rows: dict) -> pa.Table:
        agreed = contract(table)
        filled = [
            {c.name: row.get(c.name, _filling(c, number)) for c in agreed.columns}
            for number, row in enumerate(rows)
        ]
        return pa.Table.from_pylist(filled, schema=agreed.arrow_schema)

    return made


def _filling(column, number: int):
    if not column.required:
        return None
    return {
        "string": column.allowed[0] if column.allowed else f"{column.name} {number}",
        "boolean": True,
        "timestamp": AS_OF,
        "array<float>": [float(number)],
        "array<string>": [f"t{number}"],
        "array<int>": [number],
    }.get(column.type_name, number)


@pytest.fixture
def two(lake, batches, batch, track_vectors):
    """Two batches, each with six item vectors of its own."""
    other = batches.open(batch.as_of, batch.parents, "s", "v")
    for seed, one in enumerate((batch, other)):
        lake.append("track_vectors", track_vectors(one.batch_id, seed=seed))
    version = lake.open("track_vectors").version()
    tables = {"track_vectors": version}
    return [batches.record(one.batch_id, tables=tables) for one in (batch, other)]
