from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import sparse

from models.baselines import Interactions
from models.baselines.sasrec import SASRec, batches, sequences
from models.baselines.sasrec_network import SASRecNetwork

SMALL = {"size": 16, "length": 12, "batch": 128, "negatives": 32, "learning_rate": 5e-3}


def plays_of(user: list[int], item: list[int], users: int, items: int) -> Interactions:
    return Interactions(
        np.array(user),
        np.array(item),
        np.arange(len(user)),
        users,
        items,
        sparse.csr_array((users, 0), dtype=np.float32),
        sparse.csr_array((items, 0), dtype=np.float32),
    )


def test_histories_are_cut_from_the_end():
    plays = plays_of([0, 0, 0, 0, 0, 2, 2], [5, 4, 3, 2, 1, 1, 2], users=3, items=6)
    item, length, user = sequences(plays, 2)
    assert user.tolist() == [0, 0, 0, 2]
    assert length.tolist() == [1, 2, 2, 2]
    assert item.tolist() == [[5, 0], [4, 3], [2, 1], [1, 2]]


def test_batches_hold_so_many_plays_and_no_piece_of_one():
    length = np.array([1, 5, 3, 5, 1, 4, 5, 2, 5])
    found = batches(length, 10, np.random.default_rng(0))
    assert sorted(np.concatenate(found).tolist()) == [1, 2, 3, 5, 6, 7, 8]
    assert all(length[rows].sum() < 10 + 5 for rows in found)


def test_single_plays_alone_teach_nothing_and_break_nothing():
    plays = plays_of([0, 2], [1, 1], users=3, items=4)
    users, _ = SASRec(**SMALL).fit(plays, 0)
    assert users.any(axis=1).tolist() == [True, False, True]


@pytest.fixture
def network() -> SASRecNetwork:
    torch.manual_seed(0)
    return SASRecNetwork(20, 16, 8, blocks=2, heads=2, dropout=0.5).eval()


def test_a_state_sees_nothing_that_comes_after_it(network):
    one, other = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 0]])
    with torch.no_grad():
        assert torch.allclose(network(one)[:, :2], network(other)[:, :2], atol=1e-6)
        assert not torch.allclose(network(one)[:, 2], network(other)[:, 2], atol=1e-2)


def test_the_order_of_plays_changes_the_user():
    """Who ends on an item goes on to its successor, and all have played the same items."""
    walk = np.arange(600) % 6  # 0 1 2 3 4 5 0 ...
    user = np.repeat(np.arange(30), 20)
    plays = plays_of(user.tolist(), walk[:600].tolist(), users=30, items=6)
    found = SASRec(**{**SMALL, "epochs": 30, "dropout": 0.0}).fit(plays, 0)
    last = plays.item[19::20]
    assert ((found.users @ found.items.T).argmax(axis=1) == (last + 1) % 6).mean() > 0.9


def test_negatives_stand_for_all_items():
    """How often an item is drawn, over how often it is expected to be, is 1 on average."""
    model, rng = SASRec(negatives=1000), np.random.default_rng(0)
    target = np.array([0, 0, 0, 1, 2])
    weight = np.zeros(5)
    for _ in range(100):
        drawn, expected = model.draw(target, 5, rng)
        np.add.at(weight, drawn, 1 / expected)
    np.testing.assert_allclose(weight / 100, np.ones(5), rtol=0.05)


def test_one_more_play_leaves_the_others_pieces_as_they_were(communities):
    plays = communities()
    pieces = sequences(plays, 12)
    shorter = replace(plays, user=plays.user[:-1], item=plays.item[:-1], at=plays.at[:-1])
    others = sequences(shorter, 12)
    mine = plays.user.max()
    assert np.array_equal(pieces.item[pieces.user != mine], others.item[others.user != mine])


def test_heads_have_to_divide_the_size():
    with pytest.raises(ValidationError, match="size 10 is not a multiple of heads 4"):
        SASRec(size=10, heads=4)
