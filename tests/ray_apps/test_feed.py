from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Barrier

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.codebook import Codebook
from models.layout import VECTOR_SIZE
from models.training import ItemTable
from ray_apps import feed
from ray_apps.examples import Items
from ray_apps.feed import EMPTY_DRAWS, Feed
from schemas.arrow import list_column

CATALOGUE = ["a", "b"]


def items(heard: list[str]) -> Items:
    """Items of which the others have played some."""
    found = Items.__new__(Items)
    found.index = pd.Index(CATALOGUE)
    vectors = np.zeros((len(CATALOGUE), VECTOR_SIZE), np.float32)
    found.tables = {0: ItemTable.of(vectors, np.isin(CATALOGUE, heard).astype(float), Codebook())}
    return found


def rows(*numbers: int) -> pa.Table:
    """Examples that are always drawn; the features say which row it is."""
    features = np.array(numbers, np.float32)[:, None]
    return pa.table(
        {
            "fold": pa.array([0] * len(numbers), pa.int32()),
            "targets": pa.array([["a"]] * len(numbers), pa.list_(pa.string())),
            "weight": pa.array([1.0] * len(numbers), pa.float32()),
            "features": list_column(features),
            "present": list_column(np.ones_like(features)),
        }
    )


class Shard:
    """What Ray gives a worker, without Ray; counts the passes, which all workers begin together."""

    def __init__(self, *tables: pa.Table) -> None:
        self.tables, self.passes = tables, 0

    def iter_batches(self, **_):
        self.passes += 1
        return iter(self.tables)


class Numbered:
    """A share whose rows say which pass they are of; a pass begins when all workers ask for it."""

    def __init__(self, count: int, together: Barrier) -> None:
        self.count, self.passes, self.together = count, 0, together

    def iter_batches(self, **_):
        self.together.wait(30)
        self.passes += 1
        return iter([rows(*[self.passes] * self.count)])


def made(shard: Shard, size: int, heard: list[str] = CATALOGUE, **settings) -> Feed:
    return Feed(shard, items(heard), size, np.random.default_rng(0), **settings)


def numbers(batches) -> list[int]:
    return [int(value) for batch in batches for value in batch.features[:, 0]]


def test_each_pass_shows_everyone_and_a_small_share_is_read_once():
    shard = Shard(rows(*range(4)), rows(*range(4, 8)))
    batches = iter(made(shard, 4))
    passes = [numbers(islice(batches, 2)) for _ in range(4)]
    assert all(sorted(found) == list(range(8)) for found in passes)
    assert len({tuple(found) for found in passes}) == 4  # each in an order of its own
    assert shard.passes == 1


@pytest.fixture
def no_room(monkeypatch):
    """Nothing may be kept between passes, and little be read ahead."""
    monkeypatch.setattr(feed, "KEPT_BYTES", 0)
    monkeypatch.setattr(feed, "AHEAD", 1)


@pytest.mark.usefixtures("no_room")
def test_a_share_that_is_too_large_to_keep_is_streamed_again():
    shard = Shard(rows(*range(4)), rows(*range(4, 8)))
    batches = iter(made(shard, 2))
    orders = set()
    for passes in range(1, 4):
        found = numbers(islice(batches, 4))
        assert sorted(found) == list(range(8))
        assert shard.passes == passes
        orders.add(tuple(found))
    assert len(orders) == 3  # rows are shuffled as they come


@pytest.mark.usefixtures("no_room")
def test_workers_begin_a_pass_together_whatever_batches_their_shares_give():
    """Ray's barrier: a pass is opened when every worker asks for it, and read in the same steps."""
    together = Barrier(2)
    feeds = [made(Numbered(count, together), 2, others=True) for count in (2, 10)]
    streams = [iter(one) for one in feeds]
    with ThreadPoolExecutor(2) as workers:
        for _ in range(30):
            few, many = (set(numbers([batch])) for batch in workers.map(next, streams))
            assert few == many
            ended = all(one.ended for one in feeds)
            for one in feeds:
                one.all_ended = ended
    together.abort()  # or the threads that ask for the next pass wait on
    assert max(few) > 3


def test_a_share_without_any_usable_example_ends():
    shard = Shard(rows(0, 1))
    assert list(made(shard, 2, heard=["b"])) == []
    assert list(made(Shard(), 2)) == []
    assert shard.passes == 1
    assert EMPTY_DRAWS > 1
