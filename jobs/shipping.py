"""What every worker maps: item vectors, and what belongs to each item, as files."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkFiles
from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.cooccurrence import VARIANTS, WHOLE
from jobs.tables import read
from models.features import FeatureBuilder, ItemSpace
from models.layout import VECTOR_SIZE
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.codebook import Codebook
    from models.layout import FeatureLayout


@dataclass(frozen=True)
class Shipped:
    """Paths of the files, or names of files that Spark has sent.

    Attributes:
        vectors: by fold (or WHOLE), the item vectors made without it.
        creators: the creators' vectors that follow from them.
        codes, creator_codes: the codes of both.
        creator_of_item: dense index of each item's creator, -1 where unknown.
        duration_of_item: milliseconds, NaN where unknown.
        ids: of the items, in the order of the vectors.
    """

    vectors: dict[int, str]
    creators: dict[int, str]
    codes: dict[int, str]
    creator_codes: dict[int, str]
    creator_of_item: str
    duration_of_item: str
    ids: str

    def builder(self, layout: FeatureLayout, fold: int) -> FeatureBuilder:
        """What computes features over the vectors made without a fold, which stay on disk."""
        of_both = (self.vectors, self.creators, self.codes, self.creator_codes)
        return FeatureBuilder(layout, ItemSpace(*(_mapped(files[fold]) for files in of_both)))

    def creators_of_items(self) -> np.ndarray:
        """(items,) int64."""
        return _mapped(self.creator_of_item)

    def durations(self) -> np.ndarray:
        """(items,) float64."""
        return _mapped(self.duration_of_item)

    def item_ids(self) -> pa.Array:
        """(items,) text."""
        return mapped_ids(self.ids)


def _mapped(name: str) -> np.ndarray:
    """A file's numbers where they lie; a write, which PyTorch wants to be able to, stays ours."""
    found: np.ndarray = np.load(_path(name), mmap_mode="c")
    return found


def mapped_ids(name: str) -> pa.Array:
    """The ids of a file of ``save_ids``, where they lie."""
    file = pa.ipc.open_file(pa.memory_map(_path(name)))
    return file.read_all()["id"].combine_chunks()


def save_ids(place: Path, ids: pa.Array) -> str:
    """Write ids as a file that workers can map; returns its path."""
    table = pa.table({"id": ids})
    with pa.OSFile(str(place), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return str(place)


def _path(name: str) -> str:
    return name if Path(name).is_absolute() else SparkFiles.get(name)


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
    vectors = {}
    for fold in folds:
        some = whole if fold == WHOLE else held_out.where(F.col("fold") == fold)
        known = some.select("item_id", "vector").join(index.select("item_id", "item"), on="item_id")
        table = known.select("item", "vector").toArrow()
        vectors[fold] = np.zeros((len(creator), VECTOR_SIZE), np.float32)
        if table.num_rows:  # nobody else may have played anything
            vectors[fold][table["item"].to_numpy()] = matrix(table["vector"])
    duration = order["duration_ms"].to_numpy().astype(np.float64)
    ids = order["item_id"].combine_chunks()
    codebook = batch_codebook(lake, batch, vectors[WHOLE], ids)
    return sent(spark, saved(_new_place("items"), vectors, codebook, creator, duration, ids))


def batch_codebook(lake: Lakehouse, batch: Batch, vectors: np.ndarray, ids: pa.Array) -> Codebook:
    """Fit a codebook and keep it beside the model to come; a refresh, a rebuild have their model's.

    Args:
        lake: the lakehouse.
        batch: whose items.
        vectors: (items, VECTOR_SIZE) float32.
        ids: (items,) text.
    """
    from models.checkpoint import load_codebook, save_codebook  # and PyTorch, which takes a second
    from models.codebook import fit_codebook

    if batch.refresh or batch.rebuild_of:
        return load_codebook(batch.model_uri or lake.model_uri(batch.batch_id))
    rows = lake.read("track_vectors", batch, ["item_id", "support"])
    support = rows["support"].take(pc.index_in(ids, rows["item_id"].combine_chunks()))
    found = fit_codebook(vectors, support.to_numpy(), seed=0)
    save_codebook(found, lake.model_uri(batch.batch_id))
    return found


def ship_ids(spark: SparkSession, what: str, ids: pa.Array) -> str:
    """Send every worker some ids; returns the name for ``mapped_ids``."""
    return _send(spark, save_ids(_new_place(what).with_suffix(".arrow"), ids))


def _new_place(what: str) -> Path:
    """A path that goes with the session, which sends a name once, whatever is in the file."""
    return Path(SparkFiles.getRootDirectory()).parent / f"{what}-{uuid.uuid4().hex}"


def saved(
    folder: Path,
    vectors: Mapping[int, np.ndarray],
    codebook: Codebook,
    creator_of_item: np.ndarray,
    duration_of_item: np.ndarray,
    ids: pa.Array,
) -> Shipped:
    """Write the files into a new folder, the creators' vectors and the items' codes among them."""
    from models.codebook import item_space  # and PyTorch, which takes a second

    folder.mkdir(parents=True)
    spaces = {fold: item_space(rows, creator_of_item, codebook) for fold, rows in vectors.items()}

    def save(what: str, values: np.ndarray) -> str:
        path = folder / f"{folder.name}-{what}.npy"
        np.save(path, values)
        return str(path)

    def of_each(what: str, part: str) -> dict[int, str]:
        return {
            fold: save(f"{what}-{fold}", getattr(space, part)) for fold, space in spaces.items()
        }

    return Shipped(
        vectors=of_each("vectors", "vectors"),
        creators=of_each("creators", "creators"),
        codes=of_each("codes", "codes"),
        creator_codes=of_each("creator-codes", "creator_codes"),
        creator_of_item=save("creator_of_item", creator_of_item),
        duration_of_item=save("duration_of_item", duration_of_item),
        ids=save_ids(folder / f"{folder.name}-ids.arrow", ids),
    )


def sent(spark: SparkSession, files: Shipped) -> Shipped:
    """Let Spark send the files to every worker."""
    return Shipped(
        vectors={fold: _send(spark, path) for fold, path in files.vectors.items()},
        creators={fold: _send(spark, path) for fold, path in files.creators.items()},
        codes={fold: _send(spark, path) for fold, path in files.codes.items()},
        creator_codes={fold: _send(spark, path) for fold, path in files.creator_codes.items()},
        creator_of_item=_send(spark, files.creator_of_item),
        duration_of_item=_send(spark, files.duration_of_item),
        ids=_send(spark, files.ids),
    )


def _send(spark: SparkSession, path: str) -> str:
    spark.sparkContext.addFile(path)
    return Path(path).name
