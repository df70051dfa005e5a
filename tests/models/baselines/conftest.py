import numpy as np
import pytest
import torch
from scipy import sparse

from models.baselines import Interactions

USERS, ITEMS, PLAYS = 60, 40, 24
SILENT = 17  # a user in the middle who has played nothing, and whose tags are known


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small wait longer for a second thread than it helps them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def community_of(rows: int) -> np.ndarray:
    return np.arange(rows) % 2


def tags(rows: int) -> sparse.csr_array:
    """Two tags, which are the communities."""
    return sparse.csr_array(np.eye(2, dtype=np.float32)[community_of(rows)])


def untagged(rows: int) -> sparse.csr_array:
    return sparse.csr_array((rows, 0), dtype=np.float32)


@pytest.fixture
def held_out() -> np.ndarray:
    """Four items of his own community for each user, which he has not played, (USERS, 4)."""
    rng = np.random.default_rng(1)
    own = [np.flatnonzero(community_of(ITEMS) == side) for side in (0, 1)]
    return np.stack([rng.choice(own[user % 2], 4, replace=False) for user in range(USERS)])


@pytest.fixture
def communities(held_out):
    """Plays of two communities, as a function of whether tags are known.

    Even users play even items, odd users odd ones; a play in twenty is anybody's.
    """

    def make(*, tagged: bool = True, seed: int = 0) -> Interactions:
        rng = np.random.default_rng(seed)
        user = np.repeat(np.delete(np.arange(USERS), SILENT), PLAYS)
        item = 2 * rng.integers(0, ITEMS // 2, len(user)) + user % 2
        item = np.where(rng.random(len(user)) < 0.05, rng.integers(0, ITEMS, len(user)), item)
        kept = ~(held_out[user] == item[:, None]).any(axis=1)
        known = tags if tagged else untagged
        return Interactions(
            user=user[kept],
            item=item[kept],
            at=np.arange(kept.sum()) * 60_000_000,
            users=USERS,
            items=ITEMS,
            user_tags=known(USERS),
            item_tags=known(ITEMS),
        )

    return make


@pytest.fixture
def auc_of(held_out):
    """How surely held-out items of the own community come before the other's, for who played."""

    def auc(users: np.ndarray, items: np.ndarray) -> float:
        scores = users @ items.T  # (USERS, ITEMS)
        found = []
        for user in np.delete(np.arange(USERS), SILENT):
            own = scores[user, held_out[user]][:, None]
            others = scores[user, community_of(ITEMS) != user % 2][None]
            found.append(((own > others) + 0.5 * (own == others)).mean())
        return float(np.mean(found))

    return auc
