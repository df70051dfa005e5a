"""Vectors of co-occurrence and of content, blended; all variants of an item in one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from jobs.content import content_vectors
from jobs.cooccurrence import VARIANTS
from jobs.met import MET, met_in, told
from models import item_vectors as iv
from models.content_features import ContentConfig
from schemas.arrow import list_column, matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyspark.sql import DataFrame

    from jobs.catalogue import Catalogue

SOURCES = np.array([None, "co-occurrence", "content", "blend"])


def blended(
    met: DataFrame,
    *,
    items: DataFrame,
    texts: DataFrame | None,
    catalogue: Catalogue,
    trust: Callable[[np.ndarray], np.ndarray],
) -> DataFrame:
    """Every item's vectors: co-occurrence and content, weighted by what stands behind them.

    Returns:
        as ``told`` makes them, and sources array<float>, of each variant: 1 where co-occurrence
        speaks, 2 where content does, 3 where both do, 0 where nothing is known.
    """
    content = content_vectors(items, met, ContentConfig(), texts)
    both = met.join(content, on="item_id")

    def blend(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors, supports = met_in(batch)
            said = matrix(batch["contents"]).reshape(vectors.shape)
            mixed = [
                iv.blend(vectors[:, place], said[:, place], trust(supports[:, place]))
                for place in range(vectors.shape[1])
            ]
            heard, described = vectors.any(axis=2), said.any(axis=2)
            row = told(batch, np.stack(mixed, axis=1), catalogue)
            sources = list_column(np.add(heard, 2 * described))
            yield row.append_column("sources", sources)

    return both.mapInArrow(blend, f"{MET}, sources array<float>")


def by_fold(vectors_of: DataFrame, catalogue: Catalogue) -> DataFrame:
    """One row per item and variant; of what nobody played and nothing describes there is none."""
    shared = vectors_of.sparkSession.sparkContext.broadcast(catalogue)

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors, _ = met_in(batch)
            sources = matrix(batch["sources"]).astype(int)
            items = batch["item"].to_numpy()
            for place, fold in enumerate(VARIANTS):
                support = shared.value.support_without(fold)[items]
                columns = {
                    "item_id": batch["item_id"],
                    "fold": pa.array(np.full(len(items), fold, np.int32)),
                    "vector": list_column(vectors[:, place]),
                    "support": pa.array(support.astype(np.int64)),
                    "source": pa.array(SOURCES[sources[:, place]].tolist(), pa.string()),
                }
                known = pa.array(sources[:, place] > 0)
                yield pa.RecordBatch.from_pydict(columns).filter(known)

    schema = "item_id string, fold int, vector array<float>, support long, source string"
    return vectors_of.mapInArrow(rows, schema)
