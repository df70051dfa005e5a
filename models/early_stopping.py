"""When training has stopped helping the users who are held out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class EarlyStopping:
    """Remembers the best epoch so far, and ends training when none has been better for long.

    Better is what chance does not explain: the mean AUC has to grow by more than one standard error
    of the users' differences to the best. Growth within the error adds up, because the best stays
    where it is meanwhile.

    Attributes:
        patience: epochs without a better one after which training ends; 0: it goes to its end.
        epoch: the best so far, 0 before there is one.
        aucs: (users,) of the best.
        weights: the model's, as they were after the best epoch.
    """

    patience: int
    epoch: int = 0
    aucs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, epoch: int, aucs: np.ndarray, model: nn.Module) -> None:
        """Look at the model after an epoch."""
        if self.epoch == 0 or surely_better(aucs, self.aucs):
            self.epoch, self.aucs = epoch, aucs
            self.weights = {
                name: value.detach().cpu().clone() for name, value in model.state_dict().items()
            }

    def over(self, epoch: int) -> bool:
        """Whether training ends after this epoch; never where nobody is held out."""
        return bool(self.patience and len(self.aucs) and epoch - self.epoch >= self.patience)


def surely_better(aucs: np.ndarray, best: np.ndarray) -> bool:
    """Whether scores of the same users, (users,) each, are ahead by more than a standard error."""
    if aucs.shape != best.shape:
        return True  # other users: what was best tells nothing of them
    ahead = aucs - best
    return bool(len(ahead) and ahead.mean() > ahead.std() / len(ahead) ** 0.5)
