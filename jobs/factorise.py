"""Counts of neighbours to vectors: mutual information, factorised over partitions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F
from scipy import sparse

from jobs.cooccurrence import FOLDS, VARIANTS, WHOLE
from jobs.met import MET, told
from jobs.pmi import flat, offsets
from jobs.summed import summed
from models import item_vectors as iv
from models.features import unit
from models.layout import VECTOR_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import DataFrame

    from jobs.catalogue import Catalogue
    from jobs.pmi import PmiRows


def context_totals(rows: DataFrame, catalogue: Catalogue) -> np.ndarray:
    """How often each context was met by users of each fold, (FOLDS, contexts)."""
    met = rows.select(F.explode(F.arrays_zip("neighbours", "folds", "counts")).alias("met"))
    counted = met.groupBy("met.neighbours", "met.folds").agg(F.sum("met.counts").alias("count"))
    table = counted.toArrow()
    cells = (table["folds"].to_numpy(), table["neighbours"].to_numpy())
    shape = (FOLDS, catalogue.own.shape[0])
    by_item = sparse.csr_matrix((table["count"].to_numpy(), cells), shape=shape)
    return np.asarray((by_item @ catalogue.own).todense())


def factorised(rows: DataFrame, pmi: PmiRows, iterations: int, seed: int) -> np.ndarray:
    """The map from contexts to vectors, (contexts, VECTOR_SIZE) float32."""
    contexts = pmi.catalogue.own.shape[1]
    shared = rows.sparkSession.sparkContext.broadcast(pmi)

    def weigh(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            matrix = shared.value.rows(batch, WHOLE)
            columns = {"contexts": matrix.indices, "values": matrix.data}
            yield pa.RecordBatch.from_pydict(
                {
                    name: pa.ListArray.from_arrays(matrix.indptr, flat)
                    for name, flat in columns.items()
                }
            )

    met = rows.where("neighbours IS NOT NULL")
    matrix = met.mapInArrow(weigh, "contexts array<int>, values array<float>")
    matrix = matrix.persist(StorageLevel.DISK_ONLY)
    block = iv.start_block(contexts, VECTOR_SIZE, seed)

    def weighed(batch: pa.RecordBatch) -> sparse.csr_matrix:
        shape = (batch.num_rows, contexts)
        cells = (flat(batch["values"]), flat(batch["contexts"]), offsets(batch["contexts"]))
        return sparse.csr_matrix(cells, shape=shape)

    def power(batch: pa.RecordBatch, block: np.ndarray) -> np.ndarray:
        return iv.power_step(weighed(batch), block)

    for _ in range(iterations):
        product = summed(matrix, partial(power, block=block), block.shape)
        block = np.linalg.qr(product)[0].astype(np.float32)
    size = (block.shape[1], block.shape[1])
    total = summed(matrix, lambda batch: iv.gram(weighed(batch), block), size)
    return iv.projection(block, total, VECTOR_SIZE)


def projected(rows: DataFrame, pmi: PmiRows, to_vector: np.ndarray) -> DataFrame:
    """Each item's vectors from co-occurrence alone, zeros where there is none.

    Returns:
        item_id, item, vectors array<float> of all variants, supports array<float>.
    """
    shared = rows.sparkSession.sparkContext.broadcast((pmi, to_vector))

    def project(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pmi, to_vector = shared.value
        for batch in batches:
            vectors = [unit(pmi.rows(batch, fold) @ to_vector) for fold in VARIANTS]
            yield told(batch, np.stack(vectors, axis=1), pmi.catalogue)

    return rows.mapInArrow(project, MET)
