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
from pyspark.sql.types import ArrayType, FloatType

from jobs.met import met_in
from jobs.summed import summed
from models import item_vectors as iv
from models.content import ContentSums, content_sums, fit
from models.content_features import learn_layout, others_of_creator
from models.layout import VECTOR_SIZE
from models.text import SentenceEncoder
from schemas.arrow import list_column, matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import Column, DataFrame

    from models.content import ContentEncoder
    from models.content_features import ContentConfig

SAMPLE = 100_000  # items; the commonest thousand words and the spread of the audio need no more
MOST_PARTS = 32  # partitions that add up; each share is a matrix of some megabytes
TOLD = ("item_id", "kind", "genres", "language", "audio_features")


def content_vectors(
    items: DataFrame, met: DataFrame, config: ContentConfig, texts: DataFrame | None = None
) -> DataFrame:
    """What content says of every item, for several variants of the vectors at once.

    The encoder of a variant learns from that variant's vectors alone: whoever must not be known by
    the result must not be known by them.

    Args:
        items: the catalogue.
        met: of every item item_id; vectors array<float> from co-occurrence, all variants one after
            the other, zeros where one has not met the item; supports array<float>, plays behind
            each.
        config: settings.
        texts: what ``text_vectors`` made of the same items; None leaves texts out.

    Returns:
        item_id, contents array<float>: of each variant a vector of length 1, or zeros where
        nothing is known.
    """
    described = with_creators(items, met, config)
    if texts is not None:
        described = described.join(texts, on="item_id", how="left")
    described = described.persist(StorageLevel.DISK_ONLY)
    encoders = _learned(described, config)
    shared = items.sparkSession.sparkContext.broadcast(encoders)

    def encode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            contents = [
                encoder.vectors(_variant(batch, place))[0]
                for place, encoder in enumerate(shared.value)
            ]
            columns = {"item_id": batch["item_id"], "contents": list_column(np.hstack(contents))}
            yield pa.RecordBatch.from_pydict(columns)

    return described.mapInArrow(encode, "item_id string, contents array<float>")


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


def with_creators(items: DataFrame, met: DataFrame, config: ContentConfig) -> DataFrame:
    """Each item beside its vectors and what its creator's other items say of it.

    Args:
        items: the catalogue.
        met: as in ``content_vectors``.
        config: settings.

    Returns:
        what is told of the item; vectors, supports; and of each variant the sum of the others'
        vectors and the weight behind it: others, others_weights array<float>.
    """
    creator = F.coalesce(F.concat(F.lit("c"), "creator_id"), F.concat(F.lit("i"), "item_id"))
    joined = items.select(*TOLD, creator.alias("creator")).join(met, on="item_id")
    together = joined.repartition("creator").sortWithinPartitions("creator", "item_id")
    schema = joined.drop("creator").schema.add("others", ArrayType(FloatType()))

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = list(batches)  # a partition: a creator's items may lie in several batches
        if not held:
            return
        table = pa.Table.from_batches(held)
        creator = table["creator"].combine_chunks().dictionary_encode().indices.to_numpy()
        vectors, supports = met_in(table)
        trusted = iv.trust(supports, config.others_prior)
        others = [
            others_of_creator(creator, vectors[:, place], trusted[:, place])
            for place in range(vectors.shape[1])
        ]
        columns = {
            "others": list_column(np.hstack([total for total, _ in others])),
            "others_weights": list_column(np.column_stack([weight for _, weight in others])),
        }
        table = table.drop_columns(["creator"])
        for name, values in columns.items():
            table = table.append_column(name, values)
        yield from table.to_batches()

    return together.mapInArrow(sums, schema.add("others_weights", ArrayType(FloatType())))


def _variant(items: pa.RecordBatch, place: int) -> pa.RecordBatch:
    """What is told of items in one variant, as ``ContentLayout.rows`` reads it."""
    others, weights = matrix(items["others"]), matrix(items["others_weights"])
    columns = {name: items[name] for name in (*TOLD, "text") if name in items.schema.names}
    columns["others"] = list_column(others[:, VECTOR_SIZE * place : VECTOR_SIZE * (place + 1)])
    columns["others_weight"] = pa.array(weights[:, place])
    return pa.RecordBatch.from_pydict(columns)


def _learned(described: DataFrame, config: ContentConfig) -> list[ContentEncoder]:
    """The encoder of each variant, from all items that it met."""
    layout = learn_layout(_sample(described), config, VECTOR_SIZE, _text_size(described))
    first = described.select(F.size("supports").alias("variants")).head()
    variants, columns = int(first["variants"]) if first else 0, sum(layout.widths.values())
    shared = described.sparkSession.sparkContext.broadcast(layout)

    def share(batch: pa.RecordBatch) -> np.ndarray:
        vectors, supports = met_in(batch)
        trusted = iv.trust(supports, config.support_prior)
        sums = [
            content_sums(shared.value, _variant(batch, place), vectors[:, place], trusted[:, place])
            for place in range(variants)
        ]
        return np.stack([np.hstack([one.gram, one.cross]) for one in sums])

    played = described.where("supports[0] > 0").coalesce(MOST_PARTS)
    total = summed(played, share, (variants, columns, columns + VECTOR_SIZE), np.float64)
    return [fit(layout, ContentSums(one[:, :columns], one[:, columns:])) for one in total]


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
