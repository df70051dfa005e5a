"""Vectors of one batch may be compared, vectors of two may not.

``Lakehouse.read`` and the readers of Spark and Ray mark what they return with its batch; the
functions here look at the mark, or at the column ``batch_id``, before they let two tables meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.storage import BATCH_ID
from schemas.arrow import matrix
from schemas.errors import MixedBatchesError

if TYPE_CHECKING:
    from collections.abc import Sequence


def batch_of(rows: pa.Table) -> str | None:
    """The batch whose space a table's vectors lie in; None for a table that tells none.

    Raises:
        MixedBatchesError: its rows are of several batches.
    """
    marked = (rows.schema.metadata or {}).get(BATCH_ID)
    found = {marked.decode()} if marked else set()
    if "batch_id" in rows.column_names and not marked:
        found = set(pc.unique(rows["batch_id"]).to_pylist())
    return one_space(found)


def one_space(batch_ids: set[str]) -> str | None:
    """The one batch of these; None if there is none.

    Raises:
        MixedBatchesError: there are several; it names them.
    """
    if len(batch_ids) > 1:
        raise MixedBatchesError(
            f"vectors of {' and '.join(sorted(batch_ids))} cannot be joined or compared: each "
            "batch is a space of its own; read both sides from one batch, or look through a bridge "
            "(`tasteprint bridges`)"
        )
    return next(iter(batch_ids), None)


def require_one_space(*tables: pa.Table) -> str | None:
    """The batch that all of these tables belong to, as far as they tell.

    Raises:
        MixedBatchesError: they belong to two; it names both.
    """
    return one_space({name for name in map(batch_of, tables) if name is not None})


def join(left: pa.Table, right: pa.Table, on: str | Sequence[str]) -> pa.Table:
    """The inner join of two tables of one batch.

    Raises:
        MixedBatchesError: they are of two batches.
    """
    batch_id = require_one_space(left, right)
    keys = [on] if isinstance(on, str) else list(on)
    # Arrow joins scalars alone, so the vectors are picked by the places of their rows.
    places = [
        side.select(keys).append_column(name, pa.array(range(side.num_rows), pa.int64()))
        for side, name in ((left, "_left"), (right, "_right"))
    ]
    met = places[0].join(places[1], keys=keys, join_type="inner").sort_by("_left")
    joined = left.take(met["_left"])
    theirs = right.take(met["_right"])
    for name in theirs.column_names:
        if name not in joined.column_names:
            joined = joined.append_column(theirs.field(name), theirs[name])
    return joined.replace_schema_metadata({BATCH_ID: batch_id.encode()} if batch_id else None)


def similarity(left: pa.Table, right: pa.Table) -> np.ndarray:
    """Cosine of each row of one table with each of the other, (N, M) float32.

    Both are rows of ``user_embeddings``, or both of ``track_vectors``.

    Raises:
        MixedBatchesError: they are of two batches.
    """
    require_one_space(left, right)
    a, b = (_units(rows) for rows in (left, right))
    return a @ b.T


def _units(rows: pa.Table) -> np.ndarray:
    column = next(name for name in ("embedding", "vector") if name in rows.column_names)
    values = matrix(rows[column])
    norms: np.ndarray = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(norms, np.finfo(np.float32).tiny)
