"""Training examples from Delta, as a worker reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.training import Examples, ItemTable
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.data import DataIterator

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

ROWS_AT_ONCE = 4096
EMPTY_DRAWS = 100  # in a row
KEPT_BYTES = 256_000_000  # of rows that a worker keeps between passes
MAX_VALIDATION_ROWS = 32_768


class Items:
    """The items of a batch: an index of their ids, and one table per fold left out.

    Args:
        lake: the lakehouse.
        batch: has published ``track_vectors`` and ``training_vectors``.
    """

    def __init__(self, lake: Lakehouse, batch: Batch) -> None:
        ids = lake.read("track_vectors", batch, ["item_id"])["item_id"]
        self.index = pd.Index(ids.to_numpy(zero_copy_only=False)).sort_values()
        columns = ["item_id", "fold", "vector", "support"]
        held_out = lake.read("training_vectors", batch, columns)
        fold = held_out["fold"].to_numpy()
        self.tables = {
            int(one): self._table(held_out.filter(fold == one)) for one in np.unique(fold)
        }

    def _table(self, rows: pa.Table) -> ItemTable:
        place = self.index.get_indexer(rows["item_id"].to_numpy(zero_copy_only=False))
        known = place >= 0
        values = matrix(rows["vector"])
        vectors = np.zeros((len(self.index), values.shape[1]), np.float32)
        support = np.zeros(len(self.index))
        vectors[place[known]] = values[known]
        support[place[known]] = rows["support"].to_numpy()[known]
        return ItemTable.of(vectors, support)

    def examples(self, rows: pa.Table) -> Iterator[Examples]:
        """The rows as examples, one fold at a time; only targets known without the user count."""
        targets = rows["targets"].combine_chunks()
        items = self.index.get_indexer(targets.flatten().to_numpy(zero_copy_only=False))
        bounds = np.concatenate([[0], np.cumsum(targets.value_lengths().to_numpy())])
        fold = rows["fold"].to_numpy()
        features, present = matrix(rows["features"]), matrix(rows["present"])
        for one in np.intersect1d(fold, list(self.tables)):
            known = np.append(self.tables[int(one)].known, False)
            chosen, kept = [], []
            for row in np.flatnonzero(fold == one):
                own = items[bounds[row] : bounds[row + 1]]
                own = own[known[own]]
                if len(own):
                    chosen.append(row)
                    kept.append(own)
            if chosen:
                yield Examples(
                    features=torch.from_numpy(features[chosen]),
                    present=torch.from_numpy(present[chosen]),
                    targets=kept,
                    fold=int(one),
                )


def endless_batches(
    shard: DataIterator, items: Items, size: int, rng: np.random.Generator
) -> Iterator[Examples]:
    """Batches of about ``size`` users of one fold each, without end.

    An example is taken with the chance of its weight, so that a user with many counts as much as a
    user with one. It ends only where draw after draw holds no target that other users know.
    """
    empty = 0
    for rows in endless_rows(shard):
        batches = draw_batches(rows, items, size, rng)
        empty = 0 if batches else empty + 1
        if empty == EMPTY_DRAWS:
            return
        yield from batches


def endless_rows(shard: DataIterator) -> Iterator[pa.Table]:
    """The worker's share of the rows, over and over, streamed from Ray Data.

    A share that is small is kept after the first pass: opening another takes Ray seconds.
    """
    while True:
        kept: list[pa.Table] = []
        size = 0
        for rows in shard.iter_batches(batch_size=ROWS_AT_ONCE, batch_format="pyarrow"):
            size += rows.nbytes
            if size <= KEPT_BYTES:
                kept.append(rows)
            yield rows
        if size == 0:
            return
        while size <= KEPT_BYTES:
            yield from kept


def draw_batches(
    rows: pa.Table, items: Items, size: int, rng: np.random.Generator
) -> list[Examples]:
    """One draw from some rows, in batches of one fold each, in random order."""
    lucky = rng.random(rows.num_rows) < rows["weight"].to_numpy()
    batches = [
        batch
        for examples in items.examples(rows.filter(lucky))
        for batch in split(examples, size, rng)
    ]
    return [batches[position] for position in rng.permutation(len(batches))]


def split(examples: Examples, size: int, rng: np.random.Generator) -> list[Examples]:
    """Shuffle, and cut into parts of nearly equal length, at least one."""
    order = rng.permutation(len(examples.targets))
    parts = np.array_split(order, max(1, round(len(order) / size)))
    return [
        Examples(
            features=examples.features[part],
            present=examples.present[part],
            targets=[examples.targets[row] for row in part],
            fold=examples.fold,
        )
        for part in parts
        if len(part)
    ]


def validation_examples(lake: Lakehouse, batch: Batch, items: Items) -> list[Examples]:
    """One example of each user who is held out of fitting, of at most some thousands."""
    dataset = lake.dataset("training_examples", batch)
    rows = dataset.head(MAX_VALIDATION_ROWS, filter=pc.field("validation"))
    # One each, so that users are independent draws and a standard error can be told.
    drawn = rows["user_id"].to_pandas().sample(frac=1, random_state=0).drop_duplicates()
    return list(items.examples(rows.take(pa.array(drawn.index)))) if rows.num_rows else []
