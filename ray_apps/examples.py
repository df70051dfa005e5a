"""Training examples as a worker holds them: rows of Delta with items as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.checkpoint import load_codebook
from models.training import Examples, ItemTable
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

MAX_VALIDATION_ROWS = 32_768
LOOKS_AHEAD = {"batch_size": 8192, "batch_readahead": 1, "fragment_readahead": 1}  # 130 MB less


@dataclass(frozen=True)
class Rows:
    """Rows of ``training_examples`` that a model can be fitted on.

    Attributes:
        features: (N, layout.width) float32.
        present: (N, groups) float32.
        items: (targets,) the targets of all rows, one row after another; places in ``Items.index``.
        bounds: (N + 1,) where each row's targets begin and end.
        fold: (N,) whose item table each row uses.
        weight: (N,) the chance of a row to be in a draw.
    """

    features: np.ndarray
    present: np.ndarray
    items: np.ndarray
    bounds: np.ndarray
    fold: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.fold)

    @classmethod
    def together(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, at least one."""
        lengths = np.concatenate([np.diff(part.bounds) for part in parts])
        return cls(
            features=np.concatenate([part.features for part in parts]),
            present=np.concatenate([part.present for part in parts]),
            items=np.concatenate([part.items for part in parts]),
            bounds=np.concatenate([[0], np.cumsum(lengths)]),
            fold=np.concatenate([part.fold for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
        )

    def examples(self, chosen: np.ndarray) -> Examples:
        """Some rows of one fold, as the trainer takes them."""
        ends = zip(self.bounds[chosen], self.bounds[chosen + 1], strict=True)
        return Examples(
            features=torch.from_numpy(self.features[chosen]),
            present=torch.from_numpy(self.present[chosen]),
            targets=[self.items[low:high] for low, high in ends],
            fold=int(self.fold[chosen[0]]),
        )


class Items:
    """The items of a batch: an index of their ids, and one table per fold left out.

    Each worker holds all of them: they grow with the catalogue and not with the users.

    Args:
        lake: the lakehouse.
        batch: has published ``track_vectors`` and ``training_vectors``.
    """

    def __init__(self, lake: Lakehouse, batch: Batch) -> None:
        self.codebook = load_codebook(lake.model_uri(batch.batch_id))
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
        return ItemTable.of(vectors, support, self.codebook)

    @cached_property
    def known(self) -> np.ndarray:
        """Which items the others know, (highest fold + 2, items + 1); all False in the last ones.

        So the fold -1, of which there is no table, and the item -1, of no batch, are unknown.
        """
        found = np.zeros((max(self.tables, default=-1) + 2, len(self.index) + 1), bool)
        for fold, table in self.tables.items():
            found[fold, :-1] = table.played
        return found

    def rows(self, table: pa.Table) -> Rows:
        """The rows with a target that is known without the user, and such targets only."""
        targets = table["targets"].combine_chunks()
        items = self.index.get_indexer(targets.flatten().to_numpy(zero_copy_only=False))
        lengths = targets.value_lengths().to_numpy()
        fold = table["fold"].to_numpy()
        row = np.repeat(np.arange(len(fold)), lengths)
        place = np.where(fold <= max(self.tables, default=-1), fold, -1)
        known = self.known[place[row], items]
        left = np.bincount(row[known], minlength=len(fold))
        kept = np.flatnonzero(left)
        return Rows(
            features=matrix(table["features"])[kept],
            present=matrix(table["present"])[kept],
            items=items[known],
            bounds=np.concatenate([[0], np.cumsum(left[kept])]),
            fold=fold[kept],
            weight=table["weight"].to_numpy()[kept],
        )


def by_fold(rows: Rows, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Some places in rows, one fold at a time."""
    fold = rows.fold[chosen]
    for one in np.unique(fold):
        yield chosen[fold == one]


def draw_batches(
    rows: Rows, places: np.ndarray, size: int, rng: np.random.Generator
) -> list[Examples]:
    """One draw from rows at some places, in batches of one fold each, in random order.

    A row is taken with the chance of its weight, so that a user with many examples counts as much
    as a user with one.
    """
    lucky = places[rng.random(len(places)) < rows.weight[places]]
    parts = [part for of_fold in by_fold(rows, lucky) for part in split(of_fold, size, rng)]
    return [rows.examples(parts[position]) for position in rng.permutation(len(parts))]


def split(places: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle, and cut into parts of nearly equal length, at least one."""
    return np.array_split(rng.permutation(places), max(1, round(len(places) / size)))


def validation_examples(lake: Lakehouse, batch: Batch, items: Items) -> list[Examples]:
    """One example of each user who is held out of fitting, of at most some thousands."""
    dataset = lake.dataset("training_examples", batch)
    table = dataset.head(MAX_VALIDATION_ROWS, filter=pc.field("validation"), **LOOKS_AHEAD)
    # One each, so that users are independent draws and a standard error can be told.
    drawn = table["user_id"].to_pandas().sample(frac=1, random_state=0).drop_duplicates()
    if not table.num_rows:
        return []
    rows = items.rows(table.take(pa.array(drawn.index)))
    del table
    pa.default_memory_pool().release_unused()  # or the process holds what a moment needed
    return [rows.examples(of_fold) for of_fold in by_fold(rows, np.arange(len(rows)))]
