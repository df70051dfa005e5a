"""How far training is, and the learning curve so far."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SUMMED = ("loss", "users", "waited", "seconds")  # over the workers; the norm is the same on all


@dataclass
class Progress:
    """Counters of a training; plain numbers, so that JSON holds them to the last bit.

    Attributes:
        epochs: finished.
        steps: of the epoch under way.
        sums: of the steps of the epoch under way on this worker.
        history: one entry per finished epoch.
        stopped: whether it ended before its last epoch.
    """

    epochs: int = 0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def step(self, loss: float, norm: float, users: int, waited: float, seconds: float) -> None:
        """Count a step.

        Args:
            loss: of the step.
            norm: of its gradient.
            users: seen in it.
            waited: seconds until its examples were there.
            seconds: that it took, waiting included.
        """
        seen = {"loss": loss, "norm": norm, "users": users, "waited": waited, "seconds": seconds}
        for name, value in seen.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["highest"] = max(self.sums.get("highest", 0.0), norm)
        self.steps += 1

    def finish_epoch(
        self, together: dict[str, float], workers: int, **measured: Any
    ) -> dict[str, Any]:
        """Close the epoch under way; returns its entry of the history.

        Args:
            together: the sums named in ``SUMMED``, over all workers.
            workers: how many there are.
            measured: after the last step.
        """
        self.epochs += 1
        seconds = together["seconds"] / workers
        entry = {
            "epoch": self.epochs,
            "loss": together["loss"] / self.steps / workers,
            "gradient_norm": self.sums["norm"] / self.steps,
            "highest_gradient_norm": self.sums["highest"],
            "users_per_second": together["users"] / max(seconds, 1e-9),
            "waiting": together["waited"] / max(together["seconds"], 1e-9),
            "seconds": seconds,
            **measured,
        }
        self.history.append(entry)
        self.steps, self.sums = 0, {}
        return entry

    def as_json(self) -> dict[str, Any]:
        """What ``Progress(**…)`` takes."""
        return asdict(self)
