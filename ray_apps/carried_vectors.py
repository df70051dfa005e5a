"""Vectors that a refresh need not compute: those of users whose feature rows are as they were.

A row of ``user_embeddings`` has the fingerprint of the feature row that it was computed from. Where
the new feature row has the same and the model is the same, so is the vector. If all users of a
bucket are as before, its file is carried over by reference; else their rows are copied into the new
file as they were, ``as_of`` included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.parts import part_with
from ray_apps.bucket_plan import EMBEDDINGS
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from ray_apps.bucket_plan import Precision

KEPT = ["user_id", "fingerprint", "as_of", "embedding"]


@dataclass(frozen=True)
class Before:
    """The vectors of one bucket as readers have them; at least one.

    Attributes:
        rows: user_id, fingerprint, as_of, embedding.
        files: that hold these rows and no others, by their paths below the table's folder; none
            where others are in them, too.
    """

    rows: pa.Table
    files: tuple[str, ...]

    @cached_property
    def _users(self) -> pd.Index:
        return pd.Index(self.rows["user_id"].to_numpy())

    @cached_property
    def _vectors(self) -> np.ndarray:
        return matrix(self.rows["embedding"])

    def find(self, part: pa.RecordBatch) -> np.ndarray:
        """Where each user's row stands, (N,) int64; -1 where features changed or are new."""
        place = self._users.get_indexer(pd.Index(part["user_id"].to_numpy(zero_copy_only=False)))
        then = self.rows["fingerprint"].take(pa.array(place, mask=place < 0))
        same = pc.fill_null(pc.equal(pa.chunked_array([part["fingerprint"]]), then), False)
        return np.where(same.to_numpy(), place, -1)

    def at(self, place: np.ndarray, otherwise: pa.Array) -> tuple[np.ndarray, pa.Array]:
        """Vectors and moments of some rows.

        Args:
            place: (N,) as ``find`` gives it.
            otherwise: (N,) moments for those who have none here.

        Returns:
            (N, size) float32, of no meaning where there is none here, and (N,) timestamps.
        """
        there = pa.array(np.where(place < 0, 0, place), mask=place < 0)
        moments = pc.coalesce(self.rows["as_of"].take(there).combine_chunks(), otherwise)
        return self._vectors[np.maximum(place, 0)], moments

    def same(self, parts: Iterable[pa.RecordBatch]) -> bool:
        """Whether these are all users of the rows, and none has changed."""
        count = 0
        for part in parts:
            if (self.find(part) < 0).any():
                return False
            count += part.num_rows
        return count == self.rows.num_rows


class CarriedVectors:
    """The vectors of a batch as readers have them while it is refreshed.

    Args:
        lake: the lakehouse.
        before: the batch as readers have it.
    """

    def __init__(self, lake: Lakehouse, before: Batch) -> None:
        self._dataset = lake.dataset(EMBEDDINGS, before)

    @classmethod
    def of(cls, lake: Lakehouse, batch: Batch, precision: Precision) -> CarriedVectors | None:
        """What a step that writes a batch can carry over; None where there is nothing.

        Args:
            lake: the lakehouse.
            batch: as the step sees it.
            precision: in which it computes.
        """
        before = lake.batches.get(batch.batch_id)
        made = before.recipe.get("embed", {})
        if before.refresh is None or EMBEDDINGS not in before.tables:
            return None
        if made.get("precision", "float32") != precision:
            return None
        return cls(lake, before)

    def open(self, bucket: int) -> Before | None:
        """Read the vectors of a bucket; None where it has none."""
        own = pc.field("bucket") == bucket
        part = part_with(self._dataset, own)
        rows = part.dataset().to_table(columns=KEPT, filter=own)
        if not rows.num_rows:
            return None
        alone = sum(fragment.count_rows() for fragment in part.fragments) == rows.num_rows
        return Before(rows, tuple(one.path for one in part.fragments) if alone else ())
