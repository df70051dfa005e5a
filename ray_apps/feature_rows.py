"""Feature rows of a bucket of users, as an embedding worker reads them: a part at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.files import ROWS_IN_GROUP_OF
from lakehouse.parts import part_with
from lakehouse.vector_pages import read_vectors
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pyarrow as pa
    import pyarrow.dataset as ds

WHO = ["user_id", "bucket", "as_of", "fingerprint"]
VECTORS = ["features", "present"]
READING = {
    "batch_size": ROWS_IN_GROUP_OF["user_features"],
    "batch_readahead": 1,
    "fragment_readahead": 1,
}


@dataclass(frozen=True)
class FeatureRows:
    """Some rows of ``user_features``.

    Attributes:
        who: user_id, bucket, as_of, fingerprint.
        features: (N, layout.width) float32.
        present: (N, groups) float32.
    """

    who: pa.RecordBatch
    features: np.ndarray
    present: np.ndarray


class FeatureBuckets:
    """The feature rows of a batch, by bucket.

    Args:
        dataset: all of them.
        one_to_a_file: whether no file holds users of two buckets. What passes a filter is copied
            by Arrow: then there is none.
    """

    def __init__(self, dataset: ds.Dataset, *, one_to_a_file: bool) -> None:
        self._dataset, self._one_to_a_file = dataset, one_to_a_file

    def rows(self, bucket: int) -> Iterator[FeatureRows]:
        """All that is needed to embed a bucket, no more than a row group at a time.

        Raises:
            ValueError: the vectors of a part differ in length.
            OSError: a file cannot be read.
        """
        for fragment in self._fragments(bucket):
            if self._one_to_a_file and set(WHO) <= set(fragment.physical_schema.names):
                yield from _by_row_group(fragment)
                continue
            for part in self._scan(fragment, bucket, WHO + VECTORS):
                yield FeatureRows(part.select(WHO), *(matrix(part[name]) for name in VECTORS))

    def who(self, bucket: int) -> Iterator[pa.RecordBatch]:
        """The users of a bucket, without their vectors: the columns of ``WHO``."""
        for fragment in self._fragments(bucket):
            yield from self._scan(fragment, bucket, WHO)

    def _fragments(self, bucket: int) -> Iterator[ds.ParquetFileFragment]:
        yield from part_with(self._dataset, pc.field("bucket") == bucket).fragments

    def _scan(
        self, fragment: ds.Fragment, bucket: int, columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        chosen = None if self._one_to_a_file else pc.field("bucket") == bucket
        schema = self._dataset.schema
        parts = fragment.to_batches(schema=schema, columns=columns, filter=chosen, **READING)
        yield from (part for part in parts if part.num_rows)


def _by_row_group(fragment: ds.ParquetFileFragment) -> Iterator[FeatureRows]:
    with fragment.filesystem.open_input_file(fragment.path) as source:
        file = pq.ParquetFile(source)
        for group in range(file.num_row_groups):
            who = file.read_row_group(group, columns=WHO, use_threads=False).combine_chunks()
            vectors = (_matrix(file, source, group, name) for name in VECTORS)
            for part in who.to_batches():  # one, or none where nobody is in the group
                yield FeatureRows(part, *vectors)


def _matrix(file: pq.ParquetFile, source: pa.NativeFile, group: int, name: str) -> np.ndarray:
    found = read_vectors(source, file.metadata, group, name)
    if found is not None:
        return found
    return matrix(file.read_row_group(group, columns=[name], use_threads=False)[name])
