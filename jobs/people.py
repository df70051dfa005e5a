"""What each user had told us by a batch's moment, as a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.tables import read

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


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


def with_pick_indices(profiles: DataFrame, index: DataFrame) -> DataFrame:
    """Turn picked ids into the indices of items and creators, with the time of each pick.

    Returns:
        user_id, what ``models.profiles.SCHEMA`` names: times in microseconds; -1 where a pick is of
        the other kind or unknown.
    """
    picks = profiles.select("user_id", F.explode("picks").alias("pick")).select("user_id", "pick.*")
    creators = index.select("creator_id", "creator").where("creator_id IS NOT NULL").distinct()
    of_item = F.col("picked_kind") == "item"
    chosen = F.struct(
        F.unix_micros("picked_at").alias("at"),
        F.coalesce("item", F.lit(-1)).alias("item"),
        F.coalesce("creator", F.lit(-1)).alias("creator"),
    )
    known = (
        picks.join(
            index.select("item_id", "item"), (picks.picked_id == F.col("item_id")) & of_item, "left"
        )
        .join(creators, (picks.picked_id == F.col("creator_id")) & ~of_item, "left")
        .groupBy("user_id")
        .agg(F.sort_array(F.collect_list(chosen)).alias("chosen"))
    )
    told = profiles.drop("picks").join(known, on="user_id", how="left")
    return told.select(
        "user_id",
        F.unix_micros("registered_at").alias("registered_at"),
        "country",
        "language",
        F.col("birth_year").cast("int").alias("birth_year"),
        "subscription",
        F.col("chosen.at").alias("picked_at"),
        F.col("chosen.item").alias("picked_item"),
        F.col("chosen.creator").alias("picked_creator"),
    )
