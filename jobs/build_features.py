r"""Item vectors and histories into one feature row per user, and into examples to train on.

::

    spark-submit --properties-file spark.conf jobs/build_features.py \\
        --lakehouse URI --batch-id ID

Users are cut into hash buckets; a bucket's plays meet in one task, which calls
``models.features`` over NumPy arrays. The same pass makes training examples: past moments of a
user's history, with the features as they were then and what was played in the days after.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark import SparkFiles, StorageLevel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.bucket import ROW_SCHEMA, BucketFeatures
from jobs.cooccurrence import VARIANTS, WHOLE, fold_of
from jobs.session import spark_session
from jobs.tables import known_listens, read
from lakehouse.gate import import_ahead
from lakehouse.publish import publish_frame
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from models.layout import VECTOR_SIZE, FeatureLayout, build_layout
from schemas.arrow import matrix
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from lakehouse.batch import Batch

HABITS, TOLD = ["surface", "device"], ["country", "language", "subscription"]
WORDS = 31  # values of a vocabulary that get a column of their own
VALIDATION_SHARE = 0.1  # of the users, by hash


class BuildFeatures(Settings):
    """Build one row of features per user, as of the batch's moment, and training examples."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch to write, from `tasteprint batches open`."""
    buckets: int = 16
    """Hash buckets of users; one bucket's plays must fit into a task's memory."""
    horizon_days: float = 7.0
    """Days after a moment whose plays are what a training example should foretell."""
    session_gap: float = 30.0
    """Minutes of silence that end a session; examples begin where a session begins."""
    cuts: int = 4
    """Training examples per user at beginnings of sessions, and as many more at other plays."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Lay out the groups, compute every bucket, publish both tables."""
    args = BuildFeatures.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "features")
    batch = lake.batches.to_write(args.batch_id)
    import_ahead()  # while Spark starts
    with spark_session("build_features") as spark:
        listens = known_listens(spark, lake, batch)
        profiles = user_profiles(spark, lake, batch)
        if batch.refresh is None:
            layout = build_layout(vocabularies(listens, profiles))
            lake.batches.record(batch.batch_id, layout=layout.model_dump_json())
        else:  # the model knows the groups that it was trained on, and there is nothing to train
            layout = FeatureLayout.model_validate_json(batch.layout or "")
            args = args.model_copy(update={"cuts": 0})
        rows = feature_rows(spark, lake, batch, listens, profiles, layout, args)
        rows = rows.persist(StorageLevel.DISK_ONLY)
        if batch.refresh is None:
            publish_frame(lake, "training_examples", rows.where("targets IS NOT NULL"), batch)
        published = publish_frame(lake, "user_features", rows.where("targets IS NULL"), batch)
        lake.batches.record(batch.batch_id, recipe={"features": args.recipe()})
        clock.finish(batch.batch_id, rows_in=listens.count(), rows_out=published)


def vocabularies(listens: DataFrame, profiles: DataFrame) -> dict[str, list[str]]:
    """The commonest values of each category, commonest first."""
    found: dict[str, list[str]] = {}
    for frame, names in ((listens, HABITS), (profiles, TOLD)):
        # Few values in few combinations: counted once, they are small enough to be sorted here.
        counted = frame.groupBy(*names).count().toPandas()
        for name in names:
            plays = counted.dropna(subset=[name]).groupby(name)["count"].sum().reset_index()
            top = plays.sort_values(["count", name], ascending=[False, True]).head(WORDS)
            found[name] = top[name].tolist()
    return found


def user_profiles(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame:
    """What each user had told us by the batch's moment.

    Returns:
        user_id, registered_at, country, language, birth_year, subscription, picks
        array<struct<picked_at, picked_id, picked_kind>>.
    """
    moment = F.lit(batch.as_of)
    picked = read(spark, lake, "onboarding", batch).where(F.col("picked_at") < moment)
    picks = picked.groupBy("user_id").agg(
        F.sort_array(F.collect_list(F.struct("picked_at", "picked_id", "picked_kind"))).alias(
            "picks"
        )
    )
    users = read(spark, lake, "users", batch)
    registered = F.col("registered_at").isNull() | (F.col("registered_at") < moment)
    return users.where(registered).join(picks, on="user_id", how="full")


def feature_rows(
    spark: SparkSession,
    lake: Lakehouse,
    batch: Batch,
    listens: DataFrame,
    profiles: DataFrame,
    layout: FeatureLayout,
    args: BuildFeatures,
) -> DataFrame:
    """One row per user for the batch's moment, and one for each training example.

    Returns:
        the columns of ``user_features`` and of ``training_examples``; ``targets`` is null in the
        rows of the former.
    """
    index = item_index(spark, lake, batch).persist(StorageLevel.DISK_ONLY)
    vectors, creator_of_item = ship_vectors(spark, lake, batch, index)
    creators = index.agg(F.max("creator")).first()
    compute = BucketFeatures(
        layout=layout,
        as_of=batch.as_of,
        creators=(creators[0] if creators and creators[0] is not None else -1) + 1,
        horizon_days=args.horizon_days,
        session_gap=args.session_gap,
        cuts=args.cuts,
        vectors=vectors,
        creator_of_item=creator_of_item,
    )
    bucket = F.pmod(F.xxhash64("user_id"), F.lit(args.buckets)).cast("int").alias("bucket")
    plays = listens.join(F.broadcast(index), on="item_id", how="left").select(
        bucket,
        "user_id",
        "event_id",
        "item_id",
        F.coalesce("item", F.lit(-1)).alias("item"),
        F.coalesce("creator", F.lit(-1)).alias("creator"),
        (F.unix_micros("played_at") / 1e6).alias("played_at"),
        (F.unix_micros("ingested_at") / 1e6).alias("ingested_at"),
        F.col("ms_played").cast("double").alias("ms_played"),
        "item_kind",
        "surface",
        "device",
    )
    everyone = profiles.join(listens.select("user_id").distinct(), on="user_id", how="full")
    told = with_pick_indices(everyone, index).select(
        bucket,
        fold_of().alias("fold"),
        (
            F.pmod(F.xxhash64(F.lit("validation"), "user_id"), F.lit(1000))
            < 1000 * VALIDATION_SHARE
        ).alias("validation"),
        "*",
    )

    def bucket_rows(plays: pa.Table, told: pa.Table) -> pa.Table:
        return compute(plays, told)  # Spark counts a function's arguments, self included

    together = plays.groupBy("bucket").cogroup(told.groupBy("bucket"))
    rows = together.applyInArrow(bucket_rows, from_arrow_schema(ROW_SCHEMA))
    return rows.withColumn("batch_id", F.lit(batch.batch_id))


def item_index(spark: SparkSession, lake: Lakehouse, batch: Batch) -> DataFrame:
    """The items that have a vector: item_id, creator_id, and dense ``item`` and ``creator``."""
    vectors = read(spark, lake, "track_vectors", batch).select("item_id")
    catalogue = read(spark, lake, "items", batch).select("item_id", "creator_id")
    by_item, by_creator = Window.orderBy("item_id"), Window.orderBy("creator_id")
    creator = F.when(F.col("creator_id").isNotNull(), F.dense_rank().over(by_creator))
    # Nulls sort first and take rank 1, so that the creators begin at 2 where there are any.
    return vectors.join(catalogue, on="item_id").select(
        "item_id",
        "creator_id",
        (F.row_number().over(by_item).cast("int") - 1).alias("item"),
        (creator.cast("int") - 1).alias("creator"),
    )


def ship_vectors(
    spark: SparkSession, lake: Lakehouse, batch: Batch, index: DataFrame
) -> tuple[dict[int, str], str]:
    """Send every worker the vectors, whole and without each fold, as files that it maps.

    Returns:
        the names of the files by fold (or WHOLE), and of the one with each item's creator.
    """
    place = Path(SparkFiles.getRootDirectory()).parent  # goes with the session
    call = uuid.uuid4().hex  # a session ships a name once, whatever is in the file

    def ship(what: str, rows: np.ndarray) -> str:
        file = place / f"{what}-{call}.npy"
        np.save(file, rows)
        spark.sparkContext.addFile(str(file))
        return file.name

    order = index.select("item_id", "item", "creator").toArrow().sort_by("item")
    creator = order["creator"].fill_null(-1).to_numpy().astype(np.int64)
    whole = read(spark, lake, "track_vectors", batch)
    held_out = read(spark, lake, "training_vectors", batch)
    names = {}
    for fold in VARIANTS:
        vectors = whole if fold == WHOLE else held_out.where(F.col("fold") == fold)
        known = vectors.select("item_id", "vector").join(index, on="item_id")
        table = known.select("item", "vector").toArrow()
        dense = np.zeros((len(creator), VECTOR_SIZE), np.float32)
        if table.num_rows:  # nobody else may have played anything
            dense[table["item"].to_numpy()] = matrix(table["vector"])
        names[fold] = ship(f"vectors_{fold}", dense)
    return names, ship("creator_of_item", creator)


def with_pick_indices(everyone: DataFrame, index: DataFrame) -> DataFrame:
    """Turn picked ids into the indices of items and creators, with the time of each pick.

    Returns:
        the profile's columns, with picked_at array<double>, picked_item array<int> and
        picked_creator array<int> (-1 where the pick is of the other kind or unknown) for picks.
    """
    picks = everyone.select("user_id", F.explode("picks").alias("pick")).select("user_id", "pick.*")
    creators = index.select("creator_id", "creator").where("creator_id IS NOT NULL").distinct()
    of_item = F.col("picked_kind") == "item"
    known = (
        picks.join(
            index.select("item_id", "item"), (picks.picked_id == F.col("item_id")) & of_item, "left"
        )
        .join(creators, (picks.picked_id == F.col("creator_id")) & ~of_item, "left")
        .groupBy("user_id")
        .agg(
            F.sort_array(
                F.collect_list(
                    F.struct(
                        (F.unix_micros("picked_at") / 1e6).alias("at"),
                        F.coalesce("item", F.lit(-1)).alias("item"),
                        F.coalesce("creator", F.lit(-1)).alias("creator"),
                    )
                )
            ).alias("chosen")
        )
    )
    return (
        everyone.drop("picks")
        .join(known, on="user_id", how="left")
        .select(
            "user_id",
            (F.unix_micros("registered_at") / 1e6).alias("registered_at"),
            "country",
            "language",
            F.col("birth_year").cast("double").alias("birth_year"),
            "subscription",
            F.col("chosen.at").alias("picked_at"),
            F.col("chosen.item").alias("picked_item"),
            F.col("chosen.creator").alias("picked_creator"),
        )
    )


if __name__ == "__main__":
    main()
