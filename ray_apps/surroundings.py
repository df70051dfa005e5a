"""What Ray gives a process that trains, and how it talks to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray.data import DataIterator
    from ray.train import Checkpoint


@dataclass(frozen=True)
class Surroundings:
    """What Ray gives a process that trains.

    Attributes:
        shard: its share of the training examples.
        report: takes metrics, and a checkpoint or None.
        device: on which it computes.
        rank: of the process, the first of which measures, prints and decides.
        workers: how many there are.
    """

    shard: DataIterator
    report: Callable[[dict[str, Any], Checkpoint | None], None]
    device: torch.device
    rank: int = 0
    workers: int = 1

    def sums(self, values: list[float]) -> list[float]:
        """Add up the values of all workers."""
        if self.workers == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def of_all(self, own: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all workers, each as long as this one's, in the order of their ranks."""
        if self.workers == 1:
            return [own]
        found = [torch.empty_like(own, device=self.device) for _ in range(self.workers)]
        dist.all_gather(found, own.to(self.device))
        return found
