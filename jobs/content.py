"""Vectors of items from their content alone, on Spark.

Texts are encoded once each, where the model is loaded once per worker; what creators' other items
say is summed where a creator's items lie together; the encoder learns by sums that add up over
partitions, and its small arrays are broadcast. Nothing of one row per item reaches the driver but
a bounded sample, from which the layout of the features is learned.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType

from jobs.summed import summed
from models import item_vectors as iv
from models.content import ContentSums, content_sums, fit
from models.content_features import (
    learn_layout,
    others_of_creator,
    vectors_in,
)
from models.layout import VECTOR_SIZE
from models.text import SentenceEncoder
from schemas.arrow import list_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import Column, DataFrame

    from models.content import ContentEncoder
    from models.content_features import ContentConfig

SAMPLE = 100_000  # items; the commonest thousand words and the spread of the audio need no more
MOST_PARTS = 32  # partitions that add up; each share is a matrix of some megabytes
TOLD = ("item_id", "kind", "genres", "language", "audio_features")


def content_vectors(
    items: DataFrame,
    vectors: DataFrame,
    config: ContentConfig,
    texts: DataFrame | None = None,
) -> DataFrame:
    """What content says of every item.

    The encoder learns from ``vectors`` alone: whoever must not be known by the result must not be
    known by them. For vectors without a fold of users, call it again with those.

    Args:
        items: the catalogue.
        vectors: item_id, vector array<float> from co-occurrence, support long; items that were
            met by nobody may be absent or null.
        config: settings.
        texts: what ``text_vectors`` made of the same items; None leaves texts out.

    Returns:
        item_id, content array<float> of length 1; items of which nothing is known are absent.
    """
    described = with_creators(items, vectors, config)
    if texts is not None:
        described = described.join(texts, on="item_id", how="left")
    described = described.persist(StorageLevel.DISK_ONLY)
    encoder = _learned(described, config)
    shared = items.sparkSession.sparkContext.broadcast(encoder)

    def encode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            content, known = shared.value.vectors(batch)
            columns = {"item_id": batch["item_id"], "content": list_column(content)}
            yield pa.RecordBatch.from_pydict(columns).filter(pa.array(known))

    return described.mapInArrow(encode, "item_id string, content array<float>")


def text_vectors(items: DataFrame, folder: str | None = None) -> DataFrame:
    """What title, creator and description of each item say, each distinct text encoded once.

    It does not depend on anybody's plays: keep it (``persist``) for several calls of
    ``content_vectors``.

    Args:
        items: the catalogue.
        folder: a sentence encoder's; without one, the packaged model. Every worker must have it.

    Returns:
        item_id, text array<float>; items without words are absent.
    """
    told = items.select("item_id", words_of().alias("words")).where("words <> ''")

    def encode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            text = _encoder(folder).encode(batch["words"].to_pylist())
            columns = {"words": batch["words"], "text": list_column(text)}
            yield pa.RecordBatch.from_pydict(columns)

    spoken = told.select("words").distinct().mapInArrow(encode, "words string, text array<float>")
    return told.join(spoken, on="words").select("item_id", "text")


def words_of() -> Column:
    """Title, creator and description as one text; empty where an item has none of them."""
    parts = [
        F.when(F.trim(name) != "", F.trim(name))
        for name in ("title", "creator_name", "description")
    ]
    return F.concat_ws(". ", *parts)


def with_creators(items: DataFrame, vectors: DataFrame, config: ContentConfig) -> DataFrame:
    """Each item beside its vector and what its creator's other items say of it.

    Returns:
        what is told of the item; vector, support (null where nobody met it); others array<float>,
        others_weight double.
    """
    met = vectors.select("item_id", "vector", "support")
    creator = F.coalesce(F.concat(F.lit("c"), "creator_id"), F.concat(F.lit("i"), "item_id"))
    joined = items.select(*TOLD, creator.alias("creator")).join(met, on="item_id", how="left")
    together = joined.repartition("creator").sortWithinPartitions("creator", "item_id")
    schema = joined.drop("creator").schema.add("others", ArrayType(FloatType()))

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = list(batches)  # a partition: a creator's items may lie in several batches
        if not held:
            return
        table = pa.Table.from_batches(held)
        creator = table["creator"].combine_chunks().dictionary_encode().indices.to_numpy()
        vectors, support = _met(table)
        others, weight = others_of_creator(
            creator, vectors, iv.trust(support, config.support_prior)
        )
        table = table.drop_columns(["creator"]).append_column("others", list_column(others))
        yield from table.append_column("others_weight", pa.array(weight)).to_batches()

    return together.mapInArrow(sums, schema.add("others_weight", DoubleType()))


def _met(items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of co-occurrence, zeros where there is none, and the plays behind them."""
    vectors, _ = vectors_in(items, "vector", VECTOR_SIZE)
    support = items["support"].to_numpy(zero_copy_only=False) if items.num_rows else np.zeros(0)
    return vectors, np.nan_to_num(support.astype(float))


def _learned(described: DataFrame, config: ContentConfig) -> ContentEncoder:
    """The encoder, from all items that were met."""
    layout = learn_layout(_sample(described), config, VECTOR_SIZE, _text_size(described))
    shared = described.sparkSession.sparkContext.broadcast(layout)

    columns = sum(layout.widths.values())

    def share(batch: pa.RecordBatch) -> np.ndarray:
        vectors, support = _met(batch)
        weight = iv.trust(support, config.support_prior)
        sums = content_sums(shared.value, batch, vectors, weight)
        return np.hstack([sums.gram, sums.cross])

    met = described.where("vector IS NOT NULL").coalesce(MOST_PARTS)
    total = summed(met, share, (columns, columns + VECTOR_SIZE), np.float64)
    return fit(layout, ContentSums(total[:, :columns], total[:, columns:]))


def _sample(described: DataFrame) -> pa.Table:
    """Some items, the same ones whatever the partitions."""
    order = F.xxhash64("item_id")
    return described.select(*TOLD).orderBy(order, "item_id").limit(SAMPLE).toArrow()


def _text_size(described: DataFrame) -> int:
    """Columns of the texts' vectors; 0 where no item has a text."""
    if "text" not in described.columns:
        return 0
    first = described.where("text IS NOT NULL").select(F.size("text").alias("size")).head()
    return int(first["size"]) if first else 0


@lru_cache(maxsize=1)
def _encoder(folder: str | None) -> SentenceEncoder:
    """The sentence encoder of this worker, which Spark uses again for other partitions."""
    return SentenceEncoder(folder)
