"""What every worker maps: item vectors, and what belongs to each item, as files."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.cooccurrence import VARIANTS, WHOLE
from jobs.tables import read
from models.features import FeatureBuilder, creator_vectors
from models.layout import VECTOR_SIZE
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.layout import FeatureLayout


@dataclass(frozen=True)
class Shipped:
    """Names of the files.

    Attributes:
        vectors: by fold (or WHOLE), the item vectors made without it.
        creators: the creators' vectors that follow from them.
        creator_of_item: dense index of each item's creator, -1 where unknown.
        duration_of_item: milliseconds, NaN where unknown.
        ids: of the items, in the order of the vectors.
    """

    vectors: dict[int, str]
    creators: dict[int, str]
    creator_of_item: str
    duration_of_item: str
    ids: str

    def builder(self, layout: FeatureLayout, fold: int) -> FeatureBuilder:
        """What computes features over the vectors made without a fold, which stay on disk."""
        return FeatureBuilder(layout, _mapped(self.vectors[fold]), _mapped(self.creators[fold]))

    def creators_of_items(self) -> np.ndarray:
        """(items,) int64."""
        return _mapped(self.creator_of_item)

    def durations(self) -> np.ndarray:
        """(items,) float64."""
        return _mapped(self.duration_of_item)

    def item_ids(self) -> pa.Array:
        """(items,) text."""
        file = pa.ipc.open_file(pa.memory_map(SparkFiles.get(self.ids)))
        return file.read_all()["item_id"].combine_chunks()


def _mapped(name: str) -> np.ndarray:
    """A file's numbers where they lie; a write, which PyTorch wants to be able to, stays ours."""
    found: np.ndarray = np.load(SparkFiles.get(name), mmap_mode="c")
    return found


def item_index(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame:
    """The items that have a vector: item_id, creator_id, duration_ms, and dense ints.

    Returns:
        these columns and ``item`` and ``creator``, from 0 on; creator is null where unknown.
    """
    vectors = read(spark, lake, "track_vectors", batch).select("item_id")
    catalogue = read(spark, lake, "items", batch).select("item_id", "creator_id", "duration_ms")
    by_item, by_creator = Window.orderBy("item_id"), Window.orderBy("creator_id")
    creator = F.when(F.col("creator_id").isNotNull(), F.dense_rank().over(by_creator))
    # Nulls sort first and take rank 1, so that the creators begin at 2 where there are any.
    return vectors.join(catalogue, on="item_id").select(
        "item_id",
        "creator_id",
        "duration_ms",
        (F.row_number().over(by_item).cast("int") - 1).alias("item"),
        (creator.cast("int") - 1).alias("creator"),
    )


def ship_items(
    spark: SparkSession,
    lake: Lakehouse,
    batch: Batch,
    index: DataFrame,
    folds: Sequence[int] = VARIANTS,
) -> Shipped:
    """Send every worker the vectors, whole and without each fold, as files that it maps.

    Args:
        spark: whose workers.
        lake: the lakehouse.
        batch: whose vectors.
        index: as ``item_index`` gives it.
        folds: which vectors.
    """
    order = index.select("item_id", "item", "creator", "duration_ms").toArrow().sort_by("item")
    creator = order["creator"].fill_null(-1).to_numpy().astype(np.int64)
    whole = read(spark, lake, "track_vectors", batch)
    held_out = read(spark, lake, "training_vectors", batch) if set(folds) != {WHOLE} else whole
    vectors, creators = {}, {}
    for fold in folds:
        some = whole if fold == WHOLE else held_out.where(F.col("fold") == fold)
        known = some.select("item_id", "vector").join(index.select("item_id", "item"), on="item_id")
        table = known.select("item", "vector").toArrow()
        dense = np.zeros((len(creator), VECTOR_SIZE), np.float32)
        if table.num_rows:  # nobody else may have played anything
            dense[table["item"].to_numpy()] = matrix(table["vector"])
        vectors[fold] = _ship(spark, f"vectors_{fold}", dense)
        centres = creator_vectors(dense, creator, int(creator.max(initial=-1)) + 1)
        creators[fold] = _ship(spark, f"creators_{fold}", centres)
    duration = order["duration_ms"].to_numpy().astype(np.float64)
    return Shipped(
        vectors=vectors,
        creators=creators,
        creator_of_item=_ship(spark, "creator_of_item", creator),
        duration_of_item=_ship(spark, "duration_of_item", duration),
        ids=_ship(spark, "item_ids", order["item_id"].combine_chunks()),
    )


def _ship(spark: SparkSession, what: str, values: np.ndarray | pa.Array) -> str:
    place = Path(SparkFiles.getRootDirectory()).parent  # goes with the session
    # A session ships a name once, whatever is in the file.
    file = place / f"{what}-{uuid.uuid4().hex}"
    if isinstance(values, np.ndarray):
        with file.open("wb") as target:
            np.save(target, values)
    else:
        table = pa.table({"item_id": values})
        with pa.OSFile(str(file), "wb") as target, pa.ipc.new_file(target, table.schema) as writer:
            writer.write_table(table)
    spark.sparkContext.addFile(str(file))
    return file.name
