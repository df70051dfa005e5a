"""Arrow batches of neighbourhoods to rows of the PMI matrix, as Spark's workers compute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from jobs.cooccurrence import WHOLE
from models import item_vectors as iv

if TYPE_CHECKING:
    from jobs.catalogue import Catalogue


@dataclass(frozen=True)
class PmiRows:
    """From an Arrow batch of neighbourhoods to rows of the PMI matrix."""

    catalogue: Catalogue
    totals: np.ndarray  # (FOLDS, contexts)
    shift: float
    smoothing: float

    def rows(self, batch: pa.RecordBatch, left_out: int) -> sparse.csr_matrix:
        """The batch's rows of the matrix without one fold's users, (rows, contexts) float32."""
        fold = flat(batch["folds"])
        weight = np.where(fold == left_out, 0.0, flat(batch["counts"]))
        shape = (batch.num_rows, self.catalogue.own.shape[0])
        met = sparse.csr_matrix(
            (weight, flat(batch["neighbours"]), offsets(batch["neighbours"])), shape=shape
        )
        counts = sparse.csr_matrix(met @ self.catalogue.own)
        counts.eliminate_zeros()
        total = self.totals.sum(axis=0) - (0 if left_out == WHOLE else self.totals[left_out])
        return iv.positive_pmi(counts, total, self.catalogue.block, self.shift, self.smoothing)


def flat(column: pa.ListArray) -> np.ndarray:
    """The values of all lists, one after the other."""
    return column.flatten().to_numpy(zero_copy_only=False)


def offsets(column: pa.ListArray) -> np.ndarray:
    """Where each row begins in the flattened column; an item nobody played has no row there."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)])
