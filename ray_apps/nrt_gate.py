"""What stands before a vector that was made from a few seconds of events: the last check."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIT = 1e-3  # by which a length may differ from 1
NOT_FINITE, NOT_UNIT, JUMPED = "not finite", "not of length 1", "jumped on little evidence"


class Made(NamedTuple):
    """A vector that could be published.

    Attributes:
        vector: (d,) float32.
        before: (d,) float32, the one that is published; None if there is none.
        fresh: plays and picks that it knows and the published one does not.
        counted: all of the user's plays and picks.
    """

    vector: np.ndarray
    before: np.ndarray | None
    fresh: int
    counted: int


class VectorGate:
    """Says which vectors are not published.

    A vector may turn by an angle whose 1 - cosine is ``jump``, and the further the larger a share
    of what is known of the user is new: whoever has five plays may turn with each of them, whoever
    has a thousand may not. What is held back counts as evidence for the next.

    Args:
        jump: 1 - cosine that any event may cause; 2 lets everything pass.
    """

    def __init__(self, jump: float) -> None:
        self._jump = jump

    def faults(self, made: Sequence[Made]) -> list[str | None]:
        """For each vector why it is not published, None where it is."""
        return [self._fault(one) for one in made]

    def _fault(self, made: Made) -> str | None:
        if not np.isfinite(made.vector).all():
            return NOT_FINITE
        if abs(float(np.linalg.norm(made.vector)) - 1) > UNIT:
            return NOT_UNIT
        if made.before is None:
            return None
        turned = 1 - float(made.vector @ made.before)
        return JUMPED if turned > self.allowed(made.fresh, made.counted) else None

    def allowed(self, fresh: int, counted: int) -> float:
        """How far a vector may turn, as 1 - cosine."""
        return self._jump + 2 * min(1.0, fresh / max(counted - fresh, 1))
