"""What features need of each play, read by Spark's tasks from the files of ``listens``.

A task reads some parts of files, keeps the plays that were known at the batch's moment, turns items
into dense indices, and sends the plays in blocks, one for each bucket of users. Whatever is the
same for all plays of a user or an item is worked out once for each, on the words of a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.blocks import BLOCKS, PLAYS, ROWS_AT_ONCE, packed
from jobs.cooccurrence import FOLDS
from jobs.parts import cut, tables
from jobs.shipping import mapped_ids
from lakehouse.storage import Lakehouse
from models.hashing import xxhash64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from pyspark.sql import DataFrame, SparkSession

VALIDATION_PER_MILLE = 100  # of the users, by hash
WORDS = ("item_kind", "surface", "device")
NUMBERS = ("played_at", "ingested_at", "ms_played")
COLUMNS = {  # and whether each repeats its values
    **dict.fromkeys(("user_id", "item_id", *WORDS), True),
    **dict.fromkeys(("event_id", *NUMBERS), False),
}


@dataclass(frozen=True)
class Played:
    """Which plays are read, and how.

    Attributes:
        lakehouse: URI, which tells how its files are opened.
        as_of: a play counts if it had happened before and was known by then.
        buckets: of users.
        items: name of the ids of the items that have a vector, in order of their indices, as
            ``jobs.shipping`` sends them.
        learned: whether training examples are made, which need both clocks and the user's fold.
        users: name of the ids of the users whose plays are wanted; None for everybody.
        rows: read at once.
    """

    lakehouse: str
    as_of: datetime
    buckets: int
    items: str
    learned: bool
    users: str | None = None
    rows: int = ROWS_AT_ONCE

    def blocks(self, spark: SparkSession, files: Mapping[str, int]) -> DataFrame:
        """The plays of some files, bytes by URI, as blocks of kind PLAYS."""
        tasks = cut(files, spark.sparkContext.defaultParallelism)

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            filesystem = Lakehouse(self.lakehouse).filesystem
            for batch in batches:
                for number in batch["id"].to_pylist():
                    found = tables(filesystem, tasks[number], "listens", COLUMNS, self.rows)
                    for plays in map(self.of, found):
                        yield from packed(plays, PLAYS)

        return spark.range(0, len(tasks), 1, max(len(tasks), 1)).mapInArrow(read, BLOCKS)

    def of(self, listens: pa.Table) -> pa.Table:
        """Plays of rows of ``listens``, as ``COLUMNS`` has them.

        Returns:
            bucket, user_id, item (-1 for what has no vector), item_id (null for what has one), at
            (microseconds), tie (orders plays of one moment), ms_played, item_kind, surface,
            device; learned (microseconds), fold and validation where they are needed.
        """
        plays = listens.filter(self._known(listens)).unify_dictionaries().combine_chunks()
        if self.users is not None:
            user, words = _coded(plays["user_id"])
            wanted = pc.is_in(words, mapped_ids(self.users)).take(pa.array(user))
            plays = plays.filter(wanted).combine_chunks()
        user, words = _coded(plays["user_id"])
        columns = {
            "bucket": (xxhash64(words) % self.buckets).astype(np.int16)[user],
            "user_id": plays["user_id"],
            **self._items(plays["item_id"]),
            "at": plays["played_at"].cast(pa.int64()),
            "tie": xxhash64(plays["event_id"].combine_chunks()),
            "ms_played": plays["ms_played"].cast(pa.int32()),
            **{name: plays[name] for name in WORDS},
        }
        if self.learned:
            drawn = xxhash64(words, "validation") % 1000
            columns |= {
                "learned": plays["ingested_at"].cast(pa.int64()),
                "fold": (xxhash64(words, "fold") % FOLDS).astype(np.int32)[user],
                "validation": (drawn < VALIDATION_PER_MILLE)[user],
            }
        return pa.table(columns)

    def _known(self, listens: pa.Table) -> pa.ChunkedArray:
        now = pa.scalar(self.as_of, listens["played_at"].type)
        happened = pc.less(listens["played_at"], now)
        return pc.and_(happened, pc.less_equal(listens["ingested_at"], now))

    def _items(self, column: pa.ChunkedArray) -> dict[str, Any]:
        """The index of each item that has a vector, and the id of each that has none."""
        code, words = _coded(column)
        index = pc.index_in(words, mapped_ids(self.items))
        unknown = np.flatnonzero(index.is_null().to_numpy(zero_copy_only=False))
        place = np.full(len(words), -1, np.int32)
        place[unknown] = np.arange(len(unknown))
        place = place[code]
        ids = pa.DictionaryArray.from_arrays(
            pa.array(place, mask=place < 0), words.take(pa.array(unknown))
        )
        return {"item": index.fill_null(-1).to_numpy()[code], "item_id": ids}


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Codes of a column without nulls (N,) int32, and the words that they stand for."""
    encoded = column.combine_chunks()
    return encoded.indices.to_numpy(), encoded.dictionary
