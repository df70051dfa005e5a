"""A worker's share of the training examples, streamed by Ray Data, over and over, shuffled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ray_apps.ahead import ahead
from ray_apps.examples import Items, Rows, draw_batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.data import DataIterator

    from models.training import Examples

ROWS_AT_ONCE = 16_384  # shuffled together
AHEAD = 4  # so many times: seconds of steps, in which Ray opens the next pass
KEPT_BYTES = 256_000_000  # of features that a worker keeps between passes
EMPTY_DRAWS = 100  # in a row


class Feed:
    """Batches of about ``size`` users of one fold each, without end.

    A share that is small is kept after the first pass, because opening another takes Ray seconds,
    and shuffled as a whole. A larger one is streamed again, its files in another order and rows
    shuffled as they come, by a thread that reads ahead; memory does not grow with the users.

    Ray Data begins a pass when all workers ask for it, and chance gives each another number of
    batches from as many rows. Whoever has ended his pass draws from his last rows until all have,
    or he would wait for the others' pass and they for his gradients.

    Args:
        shard: what Ray Train gives the worker.
        items: of the batch.
        size: users of a batch.
        rng: of this worker.
        others: whether other workers share the dataset.

    Attributes:
        ended: whether this worker has seen its share once since the pass began.
        all_ended: to be set after each step, on all workers alike.
    """

    def __init__(
        self,
        shard: DataIterator,
        items: Items,
        size: int,
        rng: np.random.Generator,
        *,
        others: bool = False,
    ) -> None:
        self.shard, self.items, self.size, self.rng, self.others = shard, items, size, rng, others
        self.ended = self.all_ended = False

    def __iter__(self) -> Iterator[Examples]:
        """The batches; they end only where draw after draw holds no target that others know."""
        empty = 0
        for rows, places in self._draws():
            batches = draw_batches(rows, places, self.size, self.rng)
            empty = 0 if batches else empty + 1
            if empty == EMPTY_DRAWS:
                return
            for batch in batches:
                yield batch
                if self.all_ended:
                    break  # at the same step on all workers, which begin their next pass together

    def _draws(self) -> Iterator[tuple[Rows, np.ndarray]]:
        """Rows, and the places among them from which to draw next."""
        rows = None
        for read in ahead(self._passes(), AHEAD):
            if isinstance(read, Rows):
                rows = read
                yield rows, np.arange(len(rows))
                continue
            if rows is None:
                return
            if read:
                yield from self._again(Rows.together(read))
            self.ended = True
            while self.others and not self.all_ended:
                yield rows, np.arange(len(rows))
            self.ended = self.all_ended = False

    def _passes(self) -> Iterator[Rows | list[Rows]]:
        """The share over and over, after each pass what is kept of it; one pass if that is all."""
        while True:
            kept: list[Rows] = []
            read = room = 0
            for table in self.shard.iter_batches(batch_size=ROWS_AT_ONCE, batch_format="pyarrow"):
                rows = self.items.rows(table)
                # Workers read equally many rows, so that all of them keep theirs or none does.
                room = KEPT_BYTES // (4 * (rows.features.shape[1] + rows.present.shape[1]))
                read += table.num_rows
                kept = [*kept, rows] if read <= room else []
                yield rows
            yield kept
            if kept or not read:
                return

    def _again(self, rows: Rows) -> Iterator[tuple[Rows, np.ndarray]]:
        """All rows in parts, cut in another way each time, for ever."""
        parts = max(1, round(len(rows) / ROWS_AT_ONCE))
        while True:
            for places in np.array_split(self.rng.permutation(len(rows)), parts):
                yield rows, places
