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
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from scipy import sparse

from jobs.catalogue import Catalogue, describe
from jobs.contexts import sharpened
from jobs.cooccurrence import FOLDS, VARIANTS, WHOLE, neighbourhoods, neighbours
from jobs.pmi import PmiRows, flat, offsets
from jobs.session import spark_session
from jobs.summed import summed
from jobs.tables import known_listens, read
from lakehouse.gate import import_ahead
from lakehouse.publish import publish_frame
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from models import item_vectors as iv
from models.context_training import ContextTrainingConfig, ItemModel
from models.features import unit
from models.layout import VECTOR_SIZE
from schemas.arrow import list_column, matrix
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
    training: ContextTrainingConfig = ContextTrainingConfig()
    """How vectors are sharpened on what users play together."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Count, weigh, factorise, sharpen, blend with content, publish."""
    args = BuildTrackVectors.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "track_vectors")
    batch = lake.batches.to_write(args.batch_id)
    import_ahead()  # while Spark starts
    with spark_session("build_track_vectors") as spark:
        listens = known_listens(spark, lake, batch).persist(StorageLevel.DISK_ONLY)
        vectors = item_vectors(listens, read(spark, lake, "items", batch), args)
        vectors = vectors.withColumn("batch_id", F.lit(batch.batch_id)).persist(
            StorageLevel.DISK_ONLY
        )
        held_out = vectors.where(F.col("fold") != WHOLE)
        publish_frame(lake, "training_vectors", held_out, batch)
        rows = publish_frame(lake, "track_vectors", vectors.where(F.col("fold") == WHOLE), batch)
        lake.batches.record(batch.batch_id, recipe={"track_vectors": args.recipe()})
        clock.finish(batch.batch_id, rows_in=listens.count(), rows_out=rows)


def item_vectors(listens: DataFrame, items: DataFrame, args: BuildTrackVectors) -> DataFrame:
    """One vector per item and fold.

    Args:
        listens: event_id, user_id, item_id, played_at.
        items: the catalogue.
        args: settings.

    Returns:
        item_id, fold (WHOLE, or the fold that is left out), vector, support, source.
    """
    index = indexed(items).persist(StorageLevel.DISK_ONLY)
    plays = listens.join(index.select("item_id", "item"), on="item_id")
    catalogue = describe(index, plays, args.max_contexts)
    met = neighbourhoods(neighbours(plays, args.session_gap, args.window, args.fading))
    rows = index.select("item_id", "item").join(met, on="item", how="left")
    parts = max(FEWEST_PARTS, catalogue.own.shape[0] // ITEMS_PER_PART)
    rows = rows.repartition(parts, "item").sortWithinPartitions("item")
    rows = rows.persist(StorageLevel.DISK_ONLY)
    totals = _context_totals(rows, catalogue)
    pmi = PmiRows(catalogue, totals, args.shift, args.smoothing)
    to_vector = _factorise(rows, pmi, args)
    projected = _projected(rows, pmi, to_vector).persist(StorageLevel.DISK_ONLY)
    start = _blended(projected, catalogue, iv.trust).persist(StorageLevel.DISK_ONLY)
    moved = _sharpened(start, plays, catalogue, args).persist(StorageLevel.DISK_ONLY)
    return _blended(moved, catalogue, iv.trust_of_trained)


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


def _context_totals(rows: DataFrame, catalogue: Catalogue) -> np.ndarray:
    """How often each context was met by users of each fold, (FOLDS, contexts)."""
    met = rows.select(F.explode(F.arrays_zip("neighbours", "folds", "counts")).alias("met"))
    counted = met.groupBy("met.neighbours", "met.folds").agg(F.sum("met.counts").alias("count"))
    table = counted.toArrow()
    cells = (table["folds"].to_numpy(), table["neighbours"].to_numpy())
    shape = (FOLDS, catalogue.own.shape[0])
    by_item = sparse.csr_matrix((table["count"].to_numpy(), cells), shape=shape)
    return np.asarray((by_item @ catalogue.own).todense())


def _factorise(rows: DataFrame, pmi: PmiRows, args: BuildTrackVectors) -> np.ndarray:
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
    block = iv.start_block(contexts, VECTOR_SIZE, args.seed)

    def weighed(batch: pa.RecordBatch) -> sparse.csr_matrix:
        shape = (batch.num_rows, contexts)
        cells = (flat(batch["values"]), flat(batch["contexts"]), offsets(batch["contexts"]))
        return sparse.csr_matrix(cells, shape=shape)

    def power(batch: pa.RecordBatch, block: np.ndarray) -> np.ndarray:
        return iv.power_step(weighed(batch), block)

    for _ in range(args.iterations):
        product = summed(matrix, partial(power, block=block), block.shape)
        block = np.linalg.qr(product)[0].astype(np.float32)
    size = (block.shape[1], block.shape[1])
    total = summed(matrix, lambda batch: iv.gram(weighed(batch), block), size)
    return iv.projection(block, total, VECTOR_SIZE)


def _projected(rows: DataFrame, pmi: PmiRows, to_vector: np.ndarray) -> DataFrame:
    """Each item's vector from co-occurrence alone, zeros where there is none, for every fold.

    Returns:
        item_id, item, fold, met array<float>.
    """
    shared = rows.sparkSession.sparkContext.broadcast((pmi, to_vector))

    def project(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pmi, to_vector = shared.value
        for batch in batches:
            for fold in VARIANTS:
                table = {
                    "item_id": batch["item_id"],
                    "item": batch["item"],
                    "fold": pa.array(np.full(batch.num_rows, fold, np.int32)),
                    "met": list_column(unit(pmi.rows(batch, fold) @ to_vector)),
                }
                yield pa.RecordBatch.from_pydict(table)

    return rows.mapInArrow(project, "item_id string, item int, fold int, met array<float>")


def _sharpened(
    start: DataFrame, plays: DataFrame, catalogue: Catalogue, args: BuildTrackVectors
) -> DataFrame:
    """Train the vectors on what users play together; those without a fold follow by a map.

    A fold's users must not be seen by its vectors, and training sees everybody. So what training
    did to the vectors is told by an affine map, which knows nothing of single items, and vectors
    without a fold are taken to the same space by it.

    Returns:
        as ``_projected``; of items that nobody played nothing is learned.
    """
    support = catalogue.support_without(WHOLE)
    table = start.where(F.col("fold") == WHOLE).select("item", "vector").toArrow()
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
            for fold in VARIANTS:
                chosen = batch.filter(pc.equal(batch["fold"], fold))
                if not chosen.num_rows:
                    continue
                item = chosen["item"].to_numpy()
                if fold == WHOLE:
                    met = after[item]
                else:
                    met = iv.aligned(matrix(chosen["vector"]), to_after)
                heard = catalogue.support_without(fold)[item] > 0
                met = np.where(heard[:, None], met, np.float32(0))
                columns = {name: chosen[name] for name in ("item_id", "item", "fold")}
                yield pa.RecordBatch.from_pydict(columns | {"met": list_column(met)})

    return start.mapInArrow(move, "item_id string, item int, fold int, met array<float>")


def _blended(
    projected: DataFrame, catalogue: Catalogue, trust: Callable[[np.ndarray], np.ndarray]
) -> DataFrame:
    """Every item's vector: co-occurrence and content, weighted by what stands behind them."""
    contexts = catalogue.own.shape[1]
    context = projected.sparkSession.sparkContext
    described = context.broadcast(catalogue)

    def share(batch: pa.RecordBatch) -> np.ndarray:
        """For each variant and context: the sum of its items' vectors, and their evidence."""
        catalogue = described.value
        sums = np.zeros((len(VARIANTS), contexts, VECTOR_SIZE + 1))
        for variant, fold in enumerate(VARIANTS):
            chosen = batch.filter(pc.equal(batch["fold"], fold))
            if not chosen.num_rows:
                continue
            items = chosen["item"].to_numpy()
            support = catalogue.support_without(fold)[items]
            own, met = catalogue.own[items], matrix(chosen["met"])
            sums[variant] = np.column_stack(iv.context_sums(own, met, support))
        return sums

    totals = summed(projected, share, (len(VARIANTS), contexts, VECTOR_SIZE + 1))
    known = {}
    for fold, total in zip(VARIANTS, totals, strict=True):
        # What an item says of itself is no content: a new one says nothing yet.
        known[fold] = unit(total[:, :-1]), np.where(catalogue.is_item, 0.0, total[:, -1])
    learned = context.broadcast(known)

    def blend(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        catalogue, known = described.value, learned.value
        for batch in batches:
            for fold in VARIANTS:
                chosen = batch.filter(pc.equal(batch["fold"], fold))
                if chosen.num_rows:
                    yield _blended_batch(chosen, catalogue, fold, known[fold], trust)

    return projected.mapInArrow(
        blend,
        "item_id string, item int, fold int, vector array<float>, support long, source string",
    )


def _blended_batch(
    batch: pa.RecordBatch,
    catalogue: Catalogue,
    fold: int,
    known: tuple[np.ndarray, np.ndarray],
    trust: Callable[[np.ndarray], np.ndarray],
) -> pa.RecordBatch:
    items, met = batch["item"].to_numpy(), matrix(batch["met"])
    support = catalogue.support_without(fold)[items]
    own = catalogue.own[items]
    content = iv.content_vectors(own, catalogue.is_creator, *known)
    vectors = iv.blend(met, content, trust(support))
    heard, described = np.abs(met).sum(axis=1) > 0, np.abs(content).sum(axis=1) > 0
    source = np.select([heard & described, heard], ["blend", "co-occurrence"], "content")
    table = {
        "item_id": batch["item_id"],
        "item": batch["item"],
        "fold": batch["fold"],
        "vector": list_column(vectors),
        "support": pa.array(support.astype(np.int64)),
        "source": pa.array(source.tolist(), pa.string()),
    }
    # Of an item that nobody played and nothing describes, nothing is known.
    return pa.RecordBatch.from_pydict(table).filter(pa.array(heard | described))


if __name__ == "__main__":
    main()
