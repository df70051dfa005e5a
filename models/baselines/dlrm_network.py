"""The network of DLRM, split so that either side can be computed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse

PARTS = 3  # vectors of a side: its own, its tags', its amounts'


class Side(nn.Module):
    """Users or items: three vectors for each, of which DLRM takes dot products.

    Args:
        tags: (N, T) of 0 and 1; a row without any has zeros for their vector.
        amounts: (N, A) float32, scaled; the bottom network's input.
        seen: (N,) bool, whose own vector can be learned; all others' is zero and stays so.
        size: numbers of a vector.
        hidden: width of the bottom network.
    """

    def __init__(
        self,
        tags: sparse.csr_array,
        amounts: np.ndarray,
        seen: np.ndarray,
        size: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.tags = tags
        self.amounts = torch.from_numpy(amounts)
        self.own = nn.Embedding(len(seen), size, sparse=True)
        self.tag = nn.EmbeddingBag(max(tags.shape[1], 1), size, mode="mean", sparse=True)
        self.bottom = nn.Sequential(
            nn.Linear(amounts.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, size)
        )
        for table in (self.own, self.tag):
            nn.init.normal_(table.weight, std=size**-0.5)
        self.own.weight.data[torch.from_numpy(~seen)] = 0

    def forward(self, row: np.ndarray) -> Tensor:
        """The three vectors of each row, (B, PARTS, size)."""
        rows = torch.from_numpy(row)
        some = self.tags[row]
        bags = torch.from_numpy(some.indices.astype("int64"))
        begins = torch.from_numpy(some.indptr[:-1].astype("int64"))
        parts = [self.own(rows), self.tag(bags, begins), self.bottom(self.amounts[rows])]
        return torch.stack(parts, dim=1)  # (B, PARTS, size)


class DLRMNetwork(nn.Module):
    """Dot products of all pairs of vectors, and a top network over them and the amounts' vectors.

    The top network's first layer is written as a sum of what it makes of the user, of the item and
    of both, which is the same as one layer over all: so a table of users by items costs no more
    than its dot products.

    Args:
        user: side of users.
        item: side of items.
        size: numbers of a vector.
        hidden: width of the top network.
    """

    def __init__(self, user: Side, item: Side, size: int, hidden: int) -> None:
        super().__init__()
        self.user, self.item = user, item
        within = PARTS * (PARTS - 1) // 2
        self.of_user = nn.Linear(size + within, hidden)
        self.of_item = nn.Linear(size + within, hidden, bias=False)
        self.of_both = nn.Linear(PARTS * PARTS, hidden, bias=False)
        self.top = nn.Sequential(nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, user: np.ndarray, item: np.ndarray) -> Tensor:
        """Logits that users will play items, row by row, (B,)."""
        users, items = self.user(user), self.item(item)  # (B, PARTS, size)
        both = (users @ items.mT).flatten(1)  # (B, PARTS²)
        return self._top(_alone(users), _alone(items), both)  # (B,)

    @torch.no_grad()
    def table(self, users: Tensor, items: Tensor) -> Tensor:
        """The same of all users and all items, from their vectors, (U, I)."""
        both = torch.einsum("upd,iqd->uipq", users, items).flatten(2)  # (U, I, PARTS²)
        return self._top(_alone(users)[:, None], _alone(items)[None], both)  # (U, I)

    def _top(self, user: Tensor, item: Tensor, both: Tensor) -> Tensor:
        layer = self.of_both(both) + self.of_user(user) + self.of_item(item)
        return self.top(layer)[..., 0]


def _alone(parts: Tensor) -> Tensor:
    """What the top network sees of one side: the amounts' vector, dot products; (B, size + 3)."""
    row, column = torch.triu_indices(PARTS, PARTS, 1)
    within = (parts @ parts.mT)[:, row, column]  # (B, PARTS·(PARTS - 1) / 2)
    return torch.cat([parts[:, -1], within], dim=1)
