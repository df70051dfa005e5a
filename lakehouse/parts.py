"""A table in parts, each looked at by itself: one after the other, or wherever there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.dataset as ds

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

Result = TypeVar("Result")
# What Arrow reads at once and ahead: its own defaults hold gigabytes of feature rows.
READING = {"batch_size": 8_192, "batch_readahead": 4, "fragment_readahead": 2}


@dataclass(frozen=True)
class Part:
    """Some Parquet files of a table; may be sent to another process.

    Attributes:
        schema: of the table.
        fragments: the files, with what their folders say of them.
    """

    schema: pa.Schema
    fragments: list[ds.ParquetFileFragment]

    def dataset(self) -> ds.Dataset:
        """The rows of these files alone."""
        filesystem = self.fragments[0].filesystem if self.fragments else None
        return ds.FileSystemDataset(self.fragments, self.schema, ds.ParquetFileFormat(), filesystem)


def part_with(dataset: ds.Dataset, chosen: pc.Expression) -> Part:
    """The files of a table that may have such rows.

    The fragments are new ones: those of a dataset keep the footers that they have read for as long
    as the dataset is there.
    """
    fresh = [
        one.format.make_fragment(one.path, one.filesystem, one.partition_expression)
        for one in dataset.get_fragments(filter=chosen)
    ]
    return Part(dataset.schema, fresh)


Spread = Callable[[Callable[[Part], Any], Sequence[Part]], Iterable[Any]]
"""Runs a function over parts as ``map`` does, but may do so on many hosts."""


def each_part(
    work: Callable[[ds.Dataset], Result], dataset: ds.Dataset, most: int, spread: Spread | None
) -> Iterable[Result]:
    """What a function makes of each part of a table, in the order of its files.

    Args:
        work: takes the rows of a part.
        dataset: the table; of files, or of no rows.
        most: rows of a part, where a file has no more itself.
        spread: where the parts are looked at; here, one after the other, if it is None.
    """
    return (spread or map)(partial(_in, work), _parts(dataset, most))


def _in(work: Callable[[ds.Dataset], Result], part: Part) -> Result:
    return work(part.dataset())


def _parts(dataset: ds.Dataset, most: int) -> list[Part]:
    parts: list[list[ds.ParquetFileFragment]] = [[]]
    rows = 0
    for fragment in dataset.get_fragments():
        count = fragment.count_rows()
        if rows and rows + count > most:
            parts.append([])
            rows = 0
        parts[-1].append(fragment)
        rows += count
    return [Part(dataset.schema, fragments) for fragments in parts if fragments]
