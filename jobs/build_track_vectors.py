r"""Listens and the catalogue into one vector per item, in the space of one batch.

::

    spark-submit --properties-file spark.conf jobs/build_track_vectors.py \\
        --lakehouse URI --batch-id ID

Besides ``track_vectors`` it publishes ``training_vectors``: the same vectors as they would be
without one fifth of the users. A model that learns what a user plays next from vectors that have
already seen this user's plays learns to trust them too much (measured on thirtymusic_events: the
AUC of future listening fell by 5 to 7 points), so each user's training examples use the vectors
that were made without them. All of these lie in one space: the map from contexts to vectors is
the batch's, and only the counts differ.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.blending import blended, by_fold
from jobs.catalogue import Catalogue, describe
from jobs.content import text_vectors
from jobs.contexts import known_contexts, sharpened
from jobs.cooccurrence import VARIANTS, WHOLE, gap_that_tells, numbered
from jobs.counts import counts_of, made_by
from jobs.factorise import context_totals, factorised, projected
from jobs.met import MET, met_in, told
from jobs.pmi import PmiRows
from jobs.session import spark_session
from jobs.tables import known_listens, read
from lakehouse.gate import import_ahead
from lakehouse.publish import publish_frame
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from models import item_vectors as iv
from models.context_training import ContextTrainingConfig, ItemModel
from models.cooccurrence import Counting
from models.layout import VECTOR_SIZE
from models.text import installed
from schemas.arrow import matrix
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

AUTO, PACKAGED, NOTHING = "auto", "packaged", "none"
FEW_GENRES = 0.5  # of the items; where more have genres, texts add nothing (docs/quality.md)
FEWEST_PARTS, ITEMS_PER_PART = 8, 20_000  # of the matrix: by the data alone, so that sums are equal


class BuildTrackVectors(Settings):
    """Build one vector per item from who is played beside whom, and from creators and genres."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch to write, from `tasteprint batches open`."""
    session_gap: float = 30.0
    """Minutes of silence that end a session."""
    window: int = 10
    """Plays before and after a play that count as its neighbours."""
    fading: float = 0.5
    """Power of the distance, in places, by which a pair counts less."""
    most_a_day: int = 1_440
    """Plays of a user and a day that are counted: one a minute; beyond, no person listens."""
    shift: float = 1.0
    """Shift of the mutual information: the larger, the fewer chance meetings count."""
    smoothing: float = 0.75
    """Power of the context counts; below 1 it tames rare contexts."""
    max_contexts: int = 30_000
    """Contexts (creators, genres, languages, items) that get a column; the most played ones do."""
    iterations: int = 4
    """Block power iterations of the factorisation."""
    seed: int = 0
    """Seed of the random start of the factorisation, and of training."""
    sentence_encoder: str = AUTO
    """What reads titles and descriptions: a folder, `packaged` (of the extra `text`), `none`, or
    `auto`: the packaged one where it is installed and fewer than half of the items have genres."""
    training: ContextTrainingConfig = ContextTrainingConfig()
    """How vectors are sharpened on what users play together."""

    def counting(self, listens: DataFrame) -> Counting:
        """What counts as played together, by the times of these plays."""
        gap = gap_that_tells(listens, self.session_gap)
        return Counting(gap, self.window, self.fading, self.most_a_day)


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Count, weigh, factorise, sharpen, blend with content, publish."""
    args = BuildTrackVectors.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "track_vectors")
    batch = lake.batches.to_write(args.batch_id)
    import_ahead()  # while Spark starts
    with spark_session("build_track_vectors", lake.uri) as spark:
        own_id = F.lit(batch.batch_id)
        contexts = known_contexts(spark, lake, batch).persist(StorageLevel.DISK_ONLY)
        counting = args.counting(known_listens(spark, lake, batch))
        counts, before = counts_of(spark, lake, batch, counting)
        counts = counts.persist(StorageLevel.DISK_ONLY)
        said = "everything" if before is None else f"what is new since batch {before}"
        print(f"vectors: counting {said}", flush=True)  # noqa: T201
        publish_frame(lake, "cooccurrence", counts.withColumn("batch_id", own_id), batch)
        lake.batches.record(batch.batch_id, recipe={"cooccurrence": made_by(batch, counting)})
        vectors = item_vectors(contexts, read(spark, lake, "items", batch), counts, args)
        vectors = vectors.withColumn("batch_id", own_id).persist(StorageLevel.DISK_ONLY)
        held_out = vectors.where(F.col("fold") != WHOLE)
        publish_frame(lake, "training_vectors", held_out, batch)
        rows = publish_frame(lake, "track_vectors", vectors.where(F.col("fold") == WHOLE), batch)
        lake.batches.record(batch.batch_id, recipe={"track_vectors": args.recipe()})
        clock.finish(batch.batch_id, rows_in=contexts.count(), rows_out=rows)


def item_vectors(
    contexts: DataFrame, items: DataFrame, counts: DataFrame, args: BuildTrackVectors
) -> DataFrame:
    """One vector per item and fold.

    Args:
        contexts: as ``known_contexts`` gives them.
        items: the catalogue.
        counts: item_key, neighbours, folds, counts, as the contract has them.
        args: settings.

    Returns:
        item_id, fold (WHOLE, or the fold that is left out), vector, support, source.
    """
    index = indexed(items).persist(StorageLevel.DISK_ONLY)
    plays = contexts.join(index.select("item_id", "item"), on="item_id")
    catalogue = describe(index, plays, args.max_contexts)
    nearby = numbered(counts, index)
    rows = index.select("item_id", "item").join(nearby, on="item", how="left")
    parts = max(FEWEST_PARTS, catalogue.own.shape[0] // ITEMS_PER_PART)
    rows = rows.repartition(parts, "item").sortWithinPartitions("item")
    rows = rows.persist(StorageLevel.DISK_ONLY)
    totals = context_totals(rows, catalogue)
    pmi = PmiRows(catalogue, totals, args.shift, args.smoothing)
    to_vector = factorised(rows, pmi, args.iterations, args.seed)
    texts = texts_of(items, args.sentence_encoder)
    blend = partial(blended, items=items, texts=texts, catalogue=catalogue)
    met = projected(rows, pmi, to_vector).persist(StorageLevel.DISK_ONLY)
    start = blend(met, trust=iv.trust).persist(StorageLevel.DISK_ONLY)
    moved = _sharpened(start, plays, catalogue, args).persist(StorageLevel.DISK_ONLY)
    return by_fold(blend(moved, trust=iv.trust_of_trained), catalogue)


def texts_of(items: DataFrame, encoder: str) -> DataFrame | None:
    """What items say in words, by the sentence encoder that was asked for; None by none."""
    if encoder == AUTO:
        described = items.agg(F.avg((F.size("genres") > 0).cast("int"))).head()
        silent = described is None or (described[0] or 0.0) < FEW_GENRES
        encoder = PACKAGED if silent and installed() else NOTHING
    if encoder == NOTHING:
        return None
    texts = text_vectors(items, None if encoder == PACKAGED else encoder)
    return texts.persist(StorageLevel.DISK_ONLY)


def indexed(items: DataFrame) -> DataFrame:
    """The catalogue with a dense integer ``item``, in the order of the ids."""
    order = Window.orderBy("item_id")
    return items.select(
        "item_id",
        "creator_id",
        "genres",
        "language",
        (F.row_number().over(order).cast("int") - 1).alias("item"),
    )


def _sharpened(
    start: DataFrame, plays: DataFrame, catalogue: Catalogue, args: BuildTrackVectors
) -> DataFrame:
    """Train the vectors on what users play together; those without a fold follow by a map.

    A fold's users must not be seen by its vectors, and training sees everybody. So what training
    did to the vectors is told by an affine map, which knows nothing of single items, and vectors
    without a fold are taken to the same space by it.

    Returns:
        as ``start``; of items that nobody played nothing is learned.
    """
    support = catalogue.support_without(WHOLE)
    whole = F.slice("vectors", 1 + VARIANTS.index(WHOLE) * VECTOR_SIZE, VECTOR_SIZE)
    table = start.select("item", whole.alias("vector")).toArrow()
    before = np.zeros((len(support), VECTOR_SIZE), np.float32)
    before[table["item"].to_numpy()] = matrix(table["vector"])
    model = ItemModel.at(before, catalogue.creator)
    model = sharpened(plays, model, support, args.training, args.seed)
    after = model.vectors(args.training.kept)
    to_after = iv.alignment(before, after, support)
    shared = start.sparkSession.sparkContext.broadcast((after, to_after, catalogue))

    def move(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        after, to_after, catalogue = shared.value
        for batch in batches:
            vectors, supports = met_in(batch)
            moved = [
                after[batch["item"].to_numpy()]
                if fold == WHOLE
                else iv.aligned(vectors[:, place], to_after)
                for place, fold in enumerate(VARIANTS)
            ]
            heard = (supports > 0)[:, :, None]
            yield told(batch, heard * np.stack(moved, axis=1), catalogue)

    return start.mapInArrow(move, MET)


if __name__ == "__main__":
    main()
