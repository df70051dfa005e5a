r"""Item vectors and histories into one feature row per user, and into examples to train on.

::

    spark-submit --properties-file spark.conf jobs/build_features.py \\
        --lakehouse URI --batch-id ID

Users are cut into hash buckets; a bucket's plays and profiles meet in one task, which calls
``models.features`` over NumPy arrays and writes the bucket's files. The same pass makes the last
plays of each user, and training examples: past moments of a user's history, with the features as
they were then and what was played in the days after. A refresh reads the plays of those alone who
have new ones (``jobs.carry``). docs/plans.md shows the plan.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field
from pyspark import StorageLevel, TaskContext
from pyspark.sql import functions as F

from jobs.blocks import PLAYS, TOLD, TOUCHED, in_blocks, unpacked
from jobs.bucket import BucketFeatures
from jobs.carry import Carried, touched_users
from jobs.cooccurrence import VARIANTS, WHOLE
from jobs.people import user_profiles, with_pick_indices
from jobs.played import Played
from jobs.session import spark_session
from jobs.shipping import item_index, ship_ids, ship_items
from jobs.tables import known_listens
from lakehouse.files import write_file
from lakehouse.gate import import_ahead
from lakehouse.publish import publish_files
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from models.layout import FeatureLayout, build_layout
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import Column, DataFrame, Row, SparkSession

    from lakehouse.batch import Batch

HABITS, TOLD_WORDS = ["surface", "device"], ["country", "language", "subscription"]
WORDS = 31  # values of a vocabulary that get a column of their own
FILES = "name string, file string, rows long"
OF_A_BATCH = ("training_examples", "user_sequences", "user_features")  # as they are published


class BuildFeatures(Settings):
    """Build one row of features per user, as of the batch's moment, and training examples."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch to write, from `tasteprint batches open`."""
    buckets: int = Field(default=16, ge=1, le=2**15 - 1)  # blocks carry it in 16 bits
    """Hash buckets of users; one bucket's plays must fit into a task's memory."""
    horizon_days: float = 7.0
    """Days after a moment whose plays are what a training example should foretell."""
    session_gap: float = 30.0
    """Minutes of silence that end a session; examples begin where a session begins."""
    cuts: int = 4
    """Training examples per user at beginnings of sessions, and as many more at other plays; two
    at a user's very beginning are there in any case."""
    sequence_length: int = 256
    """Plays in the sequence of a user, the last ones; 0 for no sequences."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Lay out the groups, compute every bucket, publish the tables."""
    args = BuildFeatures.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "features")
    batch = lake.batches.to_write(args.batch_id)
    import_ahead()  # while Spark starts
    with spark_session("build_features", lake.uri) as spark:
        if batch.refresh is not None:
            args = args.model_copy(update={"cuts": 0})  # there is nothing to train
        blocks, compute = planned(spark, lake, batch, args)
        written = bucket_files(blocks, compute, lake, args.buckets)
        published = 0
        for table in OF_A_BATCH:
            if files := [row.file for row in written if row.name == table]:
                published = publish_files(lake, table, files, batch, spark)
        lake.batches.record(batch.batch_id, recipe={"features": args.recipe()})
        plays = sum(row.rows for row in written if row.name == PLAYS)
        clock.finish(batch.batch_id, rows_in=plays, rows_out=published)


def planned(
    spark: SparkSession, lake: Lakehouse, batch: Batch, args: BuildFeatures
) -> tuple[DataFrame, BucketFeatures]:
    """What is read, in blocks, and what computes a bucket of it.

    A refresh keeps the groups that its model was trained on.
    """
    profiles = user_profiles(spark, lake, batch)
    touched = carried = None
    if batch.refresh is None:
        layout = build_layout(vocabularies(known_listens(spark, lake, batch), profiles))
        lake.batches.record(batch.batch_id, layout=layout.model_dump_json())
    else:
        layout = FeatureLayout.model_validate_json(batch.layout or "")
        before = lake.batches.get(batch.batch_id)
        touched = touched_users(spark, lake, before, batch, args.recipe())
        carried = None if touched is None else Carried(lake.uri, before)
    index = item_index(spark, lake, batch).persist(StorageLevel.DISK_ONLY)
    compute = BucketFeatures(
        batch_id=batch.batch_id,
        layout=layout,
        as_of=batch.as_of,
        horizon_days=args.horizon_days,
        session_gap=args.session_gap,
        cuts=args.cuts,
        sequence_length=args.sequence_length,
        shipped=ship_items(spark, lake, batch, index, VARIANTS if args.cuts else [WHOLE]),
        carried=carried,
        stand_ins=not lake.dataset("onboarding", batch).count_rows(),
    )
    bucket = bucket_of(args.buckets)
    told = in_blocks(with_pick_indices(profiles, index).select(bucket, "*"), TOLD)
    users = None
    if touched is not None:
        touched = touched.persist(StorageLevel.DISK_ONLY)
        users = ship_ids(spark, "touched", touched.toArrow()["user_id"].combine_chunks())
        told = told.union(in_blocks(touched.select(bucket, "user_id"), TOUCHED))
    played = Played(
        lakehouse=lake.uri,
        as_of=batch.as_of,
        buckets=args.buckets,
        items=compute.shipped.ids,
        learned=args.cuts > 0,
        users=users,
    )
    return played.blocks(spark, lake.plain_files("listens", batch)).union(told), compute


def vocabularies(listens: DataFrame, profiles: DataFrame) -> dict[str, list[str]]:
    """The commonest values of each category, commonest first."""
    found: dict[str, list[str]] = {}
    for frame, names in ((listens, HABITS), (profiles, TOLD_WORDS)):
        # Few values in few combinations: counted once, they are small enough to be sorted here.
        counted = frame.groupBy(*names).count().toPandas()
        for name in names:
            plays = counted.dropna(subset=[name]).groupby(name)["count"].sum().reset_index()
            top = plays.sort_values(["count", name], ascending=[False, True]).head(WORDS)
            found[name] = top[name].tolist()
    return found


def bucket_of(buckets: int) -> Column:
    """The bucket of a user, by hash, as ``jobs.played`` gives it."""
    return F.pmod(F.xxhash64("user_id"), F.lit(buckets)).cast("int").alias("bucket")


def bucket_files(
    blocks: DataFrame, compute: BucketFeatures, lake: Lakehouse, buckets: int
) -> list[Row]:
    """Let the blocks of each bucket meet in one task, which writes the bucket's files.

    A task that is repeated writes the same files again, each in one step; another run writes
    others, and which of them count only the commit says.

    Returns:
        name and file of each table and bucket with its rows; and the number of plays that came in.
    """
    run = uuid.uuid4().hex[:12]
    where = partial(_write, lake.uri, compute, run)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return where(batches)  # Spark asks a function how many arguments it takes

    return blocks.repartitionById(buckets, F.col("bucket")).mapInArrow(write, FILES).collect()


def _write(
    uri: str, compute: BucketFeatures, run: str, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    context = TaskContext.get()
    bucket = context.partitionId() if context else 0
    blocks = unpacked(batches)
    written = [(PLAYS, "", len(blocks[PLAYS]) if PLAYS in blocks else 0)]
    lake = Lakehouse(uri)
    for table, rows in compute(bucket, blocks).items():
        name = f"batch_id={compute.batch_id}/bucket-{bucket:05d}-{run}.parquet"
        write_file(lake, table, name, rows)
        written.append((table, name, len(rows)))
    names, files, rows_of = zip(*written, strict=True)
    yield pa.RecordBatch.from_arrays(
        [pa.array(names), pa.array(files), pa.array(rows_of, pa.int64())],
        names=["name", "file", "rows"],
    )


if __name__ == "__main__":
    main()
