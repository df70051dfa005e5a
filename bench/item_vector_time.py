"""How long item vectors take, beside implicit's ALS and gensim, and how that grows with the plays.

::

    python bench/item_vector_time.py --folder DIR --sizes 1,3,10 --peers ours --peers als

Plays of users who each have a few tastes, in sessions, written as Parquet; users and items grow
with the plays. Each program reads the files and leaves one vector of 80 numbers per item, on all
cores of this machine. Prints one JSON line per program, size and repeat, with the most memory that
the driver (this process and its JVM) and a worker have held until then. Spark's start is apart. At
the end, a line per stage of Spark's that is worth telling: its slowest task beside the median one.
"""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit and gensim have threads of their own

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from item_vectors import CORES, als, gensim
from pyspark.sql import functions as F
from session import peaks, said, spark_here, stages_of

from evaluation.held_out import Split
from jobs.build_track_vectors import BuildTrackVectors, item_vectors
from jobs.contexts import of_listens
from jobs.cooccurrence import MINUTE, WHOLE, neighbours
from jobs.counts import as_rows
from models.events import DAY
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

LAST = round(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
YEAR = 365
PLAYS_OF_A_SESSION = 10
GENRES = 200  # tastes that there are
TASTES = 3  # of a user
AT_ONCE = 1_000_000
WORTH_TELLING = 100  # milliseconds of a stage's median task
Peer = Literal["ours", "als", "gensim"]


class ItemVectorTime(Settings):
    """Measure how long item vectors take, and how that grows."""

    folder: Path
    """An empty folder to work in, or one of an earlier call, whose plays are used again."""
    sizes: str = "1,3,10"
    """Millions of plays."""
    plays_of_a_user: int = 100
    """Plays per user."""
    plays_of_an_item: int = 150
    """Plays per item; how often each is played falls like a Zipf law."""
    peers: tuple[Peer, ...] = ("ours", "als", "gensim")
    """Whom to measure."""
    hottest: bool = False
    """Let one item be in every second session."""
    repeats: int = 3
    """Runs of each."""
    epochs: int = 10
    """Of gensim."""
    memory: str = "4g"
    """Heap of Spark's one process."""


def make_plays(folder: Path, plays: int, users: int, items: int, hottest: bool) -> None:  # noqa: FBT001
    """Write sessions of users, a million plays to a file; one item in every second if asked."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    taste = rng.integers(0, GENRES, (users, TASTES))
    for number, first in enumerate(range(0, plays, AT_ONCE)):
        count = min(AT_ONCE, plays - first)
        sessions = -(-count // PLAYS_OF_A_SESSION)
        user = rng.integers(0, users, sessions)
        genre = taste[user, rng.integers(0, TASTES, sessions)].repeat(PLAYS_OF_A_SESSION)[:count]
        begins = LAST - DAY - (rng.random(sessions) * YEAR * DAY).astype(np.int64)
        place = np.arange(count) % PLAYS_OF_A_SESSION
        # Log-uniform within the genre, as a Zipf law is; items of a genre lie GENRES apart.
        rank = ((items // GENRES) ** rng.random(count)).astype(np.int64) - 1
        at = begins.repeat(PLAYS_OF_A_SESSION)[:count] + place * 4 * MINUTE
        item = rank * GENRES + genre
        if hottest:
            item[:: 2 * PLAYS_OF_A_SESSION] = 0
        table = {
            "event_id": pa.array(np.arange(first, first + count)).cast(pa.string()),
            "user_id": pa.array(user.repeat(PLAYS_OF_A_SESSION)[:count]).cast(pa.string()),
            "item_id": pa.array(item).cast(pa.string()),
            "played_at": pa.array(at).cast(pa.timestamp("us", "UTC")),
            "ms_played": pa.array(rng.integers(0, 240_000, count)),
        }
        pq.write_table(pa.table(table), folder / f"part-{number:03d}.parquet")


def split_of(folder: Path) -> Split:
    """The plays as the peers read them."""
    table = ds.dataset(folder).to_table(["user_id", "item_id", "played_at"])
    user, item = (table[name].cast(pa.int64()).to_numpy() for name in ("user_id", "item_id"))
    order = np.lexsort((table["played_at"].cast(pa.int64()).to_numpy(), user))
    items, place = np.unique(item, return_inverse=True)
    return Split(user[order], place[order], items, [])


def ours(spark: SparkSession, folder: Path, items: int) -> None:
    """The job from its plays on: counts, vectors, Parquet files; nothing describes the items."""
    spark.catalog.clearCache()
    args = BuildTrackVectors(lakehouse="-", batch_id="-", sentence_encoder="none")
    plays = of_listens(spark.read.parquet(str(folder / "plays")))
    none = {"creator_id": "string", "genres": "array<string>", "language": "string"}
    empty = {**none, "audio_features": "array<float>"}
    catalogue = spark.range(items).select(
        F.col("id").cast("string").alias("item_id"),
        F.lit("track").alias("kind"),
        *(F.lit(None).cast(kind).alias(name) for name, kind in empty.items()),
    )
    counts = as_rows(neighbours(plays, args.counting(plays))).persist()
    began = time.monotonic()
    rows = counts.count()
    said(counted=rows, seconds=round(time.monotonic() - began, 1))
    found = item_vectors(plays, catalogue, counts, args).where(f"fold = {WHOLE}")
    found.write.mode("overwrite").parquet(str(folder / "vectors"))


def run(peer: Peer, args: ItemVectorTime, folder: Path, items: int, spark: SparkSession) -> None:
    """One run of a program."""
    if peer == "ours":
        ours(spark, folder, items)
    elif peer == "als":
        np.save(folder / "als.npy", als(split_of(folder / "plays"), 0, alpha=40, regularization=1))
    else:
        vectors = gensim(
            split_of(folder / "plays"), 0, epochs=args.epochs, window=10, ns_exponent=0.75
        )
        np.save(folder / "gensim.npy", vectors)


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Make the plays of each size, and run every program over them."""
    args = ItemVectorTime.parse(argv)
    spark = spark_here("item vectors", CORES, args.folder, **{"spark.driver.memory": args.memory})
    log = args.folder / "log" / spark.sparkContext.applicationId
    for size in args.sizes.split(","):
        plays = int(float(size) * 1_000_000)
        items = max(plays // args.plays_of_an_item, GENRES)
        folder = args.folder / f"{plays}-{items}{'-hottest' if args.hottest else ''}"
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            users = max(plays // args.plays_of_a_user, 1)
            make_plays(folder / "plays", plays, users, items, args.hottest)
            (folder / "whole").touch()
        for repeat in range(args.repeats):
            for peer in args.peers:
                began = time.monotonic()
                run(peer, args, folder, items, spark)
                seconds = round(time.monotonic() - began, 1)
                said(program=peer, plays=plays, repeat=repeat, seconds=seconds, **peaks())
    spark.stop()
    for line in stages_of(log):
        if line["median_ms"] > WORTH_TELLING:
            said(**line)


if __name__ == "__main__":
    main()
