"""Bridges: an orthogonal map from the vector space of one batch into that of another.

A downstream model that is trained on an old batch and cannot be trained again yet reads the new
one through a bridge::

    rows = read_through(lake, "user_embeddings", batch="live", into="legacy")

What it gets lies in the old batch's space and is marked so. Lengths and cosines within the new
batch stay what they are, for the map only turns (or mirrors) the sphere; so it cannot bring back
what the new batch no longer holds. How much of the old space it keeps is measured when it is built
(``evaluation.bridge``), and a bridge that keeps too little is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from lakehouse.storage import BATCH_ID
from schemas.arrow import list_column, matrix
from schemas.contract import contract
from schemas.errors import BatchError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

TABLE = "bridges"
CARRIED = {"user_embeddings": "embedding"}  # tables whose vectors lie in a model's space
READ_FROM = b"tasteprint.read_from"  # in the metadata of what was read through a bridge

State = Literal["ready", "refused"]


@dataclass(frozen=True, eq=False)
class Bridge:
    """One row of ``bridges``.

    Attributes:
        from_batch, to_batch: ids of the batch that is read, and of the one that is understood.
        made_at: when it was fitted.
        rotation: (d, d) float32, orthogonal.
        metrics: how much it keeps, and under ``models`` the weights' hash of both batches.
        state: whether it may be read through.
        users: that it was fitted on.
        code_version: of the package that fitted it.
    """

    from_batch: str
    to_batch: str
    made_at: datetime
    rotation: np.ndarray
    metrics: dict[str, Any]
    state: State
    users: int
    code_version: str

    def carry(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of the one batch in the space of the other, (N, d) float32: users or tracks."""
        return vectors @ self.rotation

    def fits(self, new: Batch, old: Batch) -> bool:
        """Whether both batches still have the models that it was fitted to."""
        return self.metrics.get("models") == models_of(new, old)

    def to_row(self) -> dict[str, Any]:
        """The bridge as a row of its table."""
        row = {name: value for name, value in vars(self).items() if name != "rotation"}
        return {**row, "matrix": self.rotation.ravel(), "metrics": json.dumps(self.metrics)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Bridge:
        """The bridge of a row."""
        flat = np.array(row["matrix"], np.float32)
        size = round(len(flat) ** 0.5)
        rest = {name: value for name, value in row.items() if name not in ("matrix", "metrics")}
        return cls(rotation=flat.reshape(size, size), metrics=json.loads(row["metrics"]), **rest)


class BridgeRegistry:
    """Reads and adds to the ``bridges`` table of a lakehouse; no row is ever changed."""

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake

    def all(self) -> list[Bridge]:
        """All bridges that were ever built, oldest first."""
        if not self._lake.exists(TABLE):
            return []
        rows = self._lake.rows(TABLE).to_pylist()
        return sorted(map(Bridge.from_row, rows), key=lambda bridge: bridge.made_at)

    def add(self, bridge: Bridge) -> None:
        """Append a bridge: from then on it is the one that counts, if it is ready."""
        schema = contract(TABLE).arrow_schema
        self._lake.append(TABLE, pa.Table.from_pylist([bridge.to_row()], schema=schema))

    def get(self, new: Batch, old: Batch) -> Bridge:
        """The newest ready bridge between two batches as they are now.

        Raises:
            BatchError: there is none, or those there are were refused or fit other models.
        """
        built = self.between(new.batch_id, old.batch_id)
        ready = [bridge for bridge in built if bridge.state == "ready"]
        fitting = [bridge for bridge in ready if bridge.fits(new, old)]
        if fitting:
            return fitting[-1]
        why = "none was built"
        if built:
            why = f"the one of {built[-1].made_at:%Y-%m-%d %H:%M} UTC was refused"
        if ready:
            why = f"the one of {ready[-1].made_at:%Y-%m-%d %H:%M} UTC was fitted to other models"
        raise BatchError(
            f"no bridge leads from batch {new.batch_id} into {old.batch_id}: {why}; run "
            f"`tasteprint bridges build {new.batch_id} {old.batch_id}`"
        )

    def between(self, new: str, old: str) -> list[Bridge]:
        """Every bridge from one batch into another, by their ids, oldest first."""
        return [
            bridge for bridge in self.all() if (bridge.from_batch, bridge.to_batch) == (new, old)
        ]


def read_through(
    lake: Lakehouse,
    table: str,
    batch: Batch | str = "live",
    into: Batch | str = "legacy",
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of one batch as a consumer of another understands them.

    Args:
        lake: the lakehouse.
        table: ``user_embeddings``. Tracks lie in a model's space only once the model has placed
            them; ``Bridge.carry`` takes those.
        batch: the one that is read: an id, ``live``, ``legacy``, or the batch itself.
        into: the one that the consumer is trained on. Where it is the same, nothing is turned.
        columns: some columns of the table; all of them if None.

    Returns:
        the rows, whose ``batch_id`` and mark are those of ``into``, and whose mark
        ``tasteprint.read_from`` tells where they come from.

    Raises:
        BatchError: no bridge leads from one batch into the other.
        InputError: the table holds no vectors that a bridge carries.
    """
    if table not in CARRIED:
        raise InputError(f"a bridge carries the vectors of {', '.join(CARRIED)}, not {table}")
    new, old = lake.batch(batch), lake.batch(into)
    rows = lake.read(table, new, columns)
    if new.batch_id == old.batch_id:
        return rows
    return _carried(rows, CARRIED[table], BridgeRegistry(lake).get(new, old))


def rotation_between(new: np.ndarray, old: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The orthogonal map that brings pairs of vectors nearest to each other.

    Schönemann, A generalized solution of the orthogonal Procrustes problem, Psychometrika 1966:
    of all R with R Rᵀ = I, the one of least Σ w ‖new R - old‖².

    Args:
        new: (N, d), what is to be carried.
        old: (N, d), where each row of it should arrive.
        weight: (N,) how much each pair counts.

    Returns:
        (d, d) float32, for row vectors: ``new @ R``. It may mirror as well as turn.
    """
    meeting = (new * weight[:, None]).T.astype(np.float64) @ old.astype(np.float64)  # (d, d)
    left, _, right = np.linalg.svd(meeting)
    return (left @ right).astype(np.float32)


def models_of(new: Batch, old: Batch) -> dict[str, str | None]:
    """The hash of the weights of both batches, by their ids."""
    return {batch.batch_id: batch.model_sha256 for batch in (new, old)}


def _carried(rows: pa.Table, column: str, bridge: Bridge) -> pa.Table:
    """The rows with their vectors and their batch exchanged."""
    changed: dict[str, pa.Array] = {}
    if column in rows.column_names:
        changed[column] = list_column(bridge.carry(matrix(rows[column])))
    if "batch_id" in rows.column_names:
        changed["batch_id"] = pa.repeat(pa.scalar(bridge.to_batch), len(rows))
    for name, values in changed.items():
        place = rows.column_names.index(name)
        rows = rows.set_column(place, rows.schema.field(place), values)
    return rows.replace_schema_metadata(
        {BATCH_ID: bridge.to_batch.encode(), READ_FROM: bridge.from_batch.encode()}
    )
