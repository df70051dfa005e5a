"""Which buckets of users are to be embedded, which are done, and which files came of them.

A bucket that is done has a record, written after its file is in place::

    LAKEHOUSE/staging/BATCH/user_embeddings/MADE_OF/bucket-00012.json

``MADE_OF`` stands for the model, the version of the features and the precision: what was made of
others counts for nothing. Whoever embeds looks at the records alone, so the same command after a
crash goes on with the buckets that have none, and reads nothing of the others.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

Precision = Literal["float32", "bfloat16"]
FEATURES, EMBEDDINGS = "user_features", "user_embeddings"


@dataclass(frozen=True)
class Bucket:
    """Users who are read, embedded and written together.

    Attributes:
        number: of the bucket.
        rows: how many users it has.
        size: bytes of their feature rows.
    """

    number: int
    rows: int
    size: int


class Record(BaseModel):
    """What came of a bucket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: int
    rows: int = 0
    """Users who have a vector."""
    embedded: int = 0
    """Of them, those who were embedded; the others' vectors are carried over."""
    files: tuple[str, ...] = ()
    """Paths below the table's folder."""
    written: int = 0
    """Bytes that were written for it."""


class BucketPlan:
    """The buckets of a batch.

    Args:
        lake: the lakehouse.
        batch: whose features are there, as a step that writes it sees it.
        precision: in which they are embedded.
    """

    def __init__(self, lake: Lakehouse, batch: Batch, precision: Precision) -> None:
        self._lake, self._batch = lake, batch
        told = [batch.model_sha256, batch.version_of(FEATURES), precision]
        self.made_of = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = f"{lake.staging_uri(batch.batch_id, EMBEDDINGS)}/{self.made_of}"

    @property
    def one_to_a_file(self) -> bool:
        """Whether no file of features holds users of two buckets."""
        return bool(self._by_file)

    @cached_property
    def buckets(self) -> list[Bucket]:
        """All of them, the largest first: what is begun last holds up the others least."""
        found = self._by_file or self._by_row()
        return sorted(found, key=lambda bucket: (-bucket.size, bucket.number))

    def missing(self) -> list[Bucket]:
        """Those that have no record, the largest first."""
        done = self.records()
        return [bucket for bucket in self.buckets if bucket.number not in done]

    def records(self) -> dict[int, Record]:
        """What is recorded, by bucket."""
        filesystem = self._lake.filesystem
        if not filesystem.exists(self._folder):
            return {}
        places = filesystem.glob(f"{self._folder}/bucket-*.json")
        read = filesystem.cat(places) if places else {}
        found = [Record.model_validate_json(content) for content in read.values()]
        return {record.bucket: record for record in found}

    def record(self, record: Record) -> None:
        """Write down that a bucket is done; may be repeated."""
        name = f"bucket-{record.bucket:05d}.json"
        self._lake.write_text(f"{self._folder}/{name}", record.model_dump_json())

    def file(self, bucket: int) -> str:
        """Where a bucket's vectors lie below the table's folder."""
        return f"batch_id={self._batch.batch_id}/bucket-{bucket:05d}-{self.made_of}.parquet"

    @cached_property
    def _by_file(self) -> list[Bucket]:
        """From the log alone, where each file of features holds one bucket; else nothing."""
        table = self._lake.open(FEATURES, self._batch.version_of(FEATURES))
        added = pa.table(table.get_add_actions(flatten=True))
        if not {"min.bucket", "max.bucket", "num_records"} <= set(added.column_names):
            return []
        own = added.filter(pc.equal(added["partition.batch_id"], self._batch.batch_id))
        one = pc.fill_null(pc.equal(own["min.bucket"], own["max.bucket"]), False)
        if not pc.all(one).as_py():
            return []
        sums = own.group_by("min.bucket").aggregate([("num_records", "sum"), ("size_bytes", "sum")])
        names = ("min.bucket", "num_records_sum", "size_bytes_sum")
        return [
            Bucket(*row) for row in zip(*(sums[name].to_pylist() for name in names), strict=True)
        ]

    def _by_row(self) -> list[Bucket]:
        rows = self._lake.dataset(FEATURES, self._batch).to_table(columns=["bucket"])
        counted = pc.value_counts(rows["bucket"])
        return [
            Bucket(number, count, 0)
            for number, count in zip(
                counted.field("values").to_pylist(),
                counted.field("counts").to_pylist(),
                strict=True,
            )
        ]
