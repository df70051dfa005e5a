from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.layout import VECTOR_SIZE
from models.training import Examples, ItemTable
from ray_apps.examples import Items, endless_batches, split, validation_examples
from schemas.arrow import list_column


def made(rows: int, fold: int = 0) -> Examples:
    """Examples that carry their own number as feature and target."""
    numbers = torch.arange(rows, dtype=torch.float32)[:, None]
    return Examples(numbers, torch.ones(rows, 1), [np.array([row]) for row in range(rows)], fold)


def items(known: dict[int, list[str]], index: list[str]) -> Items:
    """Items of which each fold's others have played some."""
    import pandas as pd

    found = Items.__new__(Items)
    found.index = pd.Index(index)
    vectors = np.zeros((len(index), VECTOR_SIZE), np.float32)
    found.tables = {
        fold: ItemTable.of(vectors, np.isin(index, heard).astype(float))
        for fold, heard in known.items()
    }
    return found


def rows(*examples: tuple[int, list[str], float]) -> pa.Table:
    """Training examples: fold, targets, weight; the features say which row it is."""
    number = np.arange(len(examples), dtype=np.float32)[:, None]
    return pa.table(
        {
            "fold": pa.array([fold for fold, _, _ in examples], pa.int32()),
            "targets": pa.array([targets for _, targets, _ in examples], pa.list_(pa.string())),
            "weight": pa.array([weight for _, _, weight in examples], pa.float32()),
            "features": list_column(number),
            "present": list_column(np.ones_like(number)),
        }
    )


def shard(*batches: pa.Table) -> SimpleNamespace:
    """What Ray gives a worker, without Ray."""
    return SimpleNamespace(iter_batches=lambda **_: iter(batches))


def numbers(examples: Examples) -> list[int]:
    return [int(value) for value in examples.features[:, 0]]


CATALOGUE = ["a", "b", "c"]


def test_rows_become_examples_one_fold_at_a_time():
    known = items({0: CATALOGUE, 1: CATALOGUE}, CATALOGUE)
    found = list(known.examples(rows((1, ["a"], 1), (0, ["b", "c"], 1), (1, ["c"], 1))))
    assert [(one.fold, numbers(one)) for one in found] == [(0, [1]), (1, [0, 2])]
    assert [own.tolist() for own in found[0].targets] == [[1, 2]]


def test_targets_that_only_the_users_own_fold_knows_do_not_count():
    known = items({0: ["a"], 1: CATALOGUE}, CATALOGUE)
    found = list(known.examples(rows((0, ["a", "b", "gone"], 1), (0, ["b"], 1), (1, ["b"], 1))))
    assert [(one.fold, numbers(one)) for one in found] == [(0, [0]), (1, [2])]
    assert [own.tolist() for own in found[0].targets] == [[0]]


def test_a_fold_of_whose_items_nobody_else_knows_any_gives_no_examples():
    known = items({1: CATALOGUE}, CATALOGUE)
    found = list(known.examples(rows((0, ["a"], 1), (1, ["b"], 1))))
    assert [(one.fold, numbers(one)) for one in found] == [(1, [1])]


@pytest.mark.parametrize(
    ("size", "lengths"), [(4, [4, 3, 3]), (100, [10]), (3, [4, 3, 3]), (1, [1] * 10)]
)
def test_parts_are_of_nearly_equal_length_and_lose_nobody(size, lengths):
    parts = split(made(10, fold=2), size, np.random.default_rng(0))
    assert sorted((len(part.targets) for part in parts), reverse=True) in (lengths, [5, 5])
    assert sorted(number for part in parts for number in numbers(part)) == list(range(10))
    for part in parts:
        assert part.fold == 2
        assert numbers(part) == [int(own[0]) for own in part.targets]  # shuffled together


def test_batches_go_on_without_end_and_each_pass_shows_everyone():
    known = items({0: CATALOGUE}, CATALOGUE)
    table = rows(*[(0, ["a"], 1.0)] * 6)
    batches = endless_batches(shard(table), known, 3, np.random.default_rng(0))
    for _ in range(3):
        assert sorted(numbers(next(batches)) + numbers(next(batches))) == list(range(6))


def test_an_example_is_shown_as_often_as_its_weight_says():
    known = items({0: CATALOGUE}, CATALOGUE)
    table = rows((0, ["a"], 1.0), (0, ["a"], 0.25))
    batches = endless_batches(shard(table), known, 2, np.random.default_rng(0))
    shown = np.bincount([number for _ in range(400) for number in numbers(next(batches))])
    assert shown[0] == 400
    assert shown[1] == pytest.approx(100, abs=30)


def test_a_shard_without_any_usable_example_ends():
    known = items({0: ["a"]}, CATALOGUE)
    table = rows((0, ["b"], 1.0))
    assert list(endless_batches(shard(table), known, 2, np.random.default_rng(0))) == []


def test_items_and_their_tables_are_those_of_the_batch(world):
    found = Items(world.lake, world.batch)
    assert found.index.tolist() == sorted(f"t{number:02d}" for number in range(20))
    assert sorted(found.tables) == [0, 1, 2, 3, 4]
    for table in found.tables.values():
        assert torch.equal(table.vectors, torch.from_numpy(world.vectors))
        assert table.known.all()


def test_each_user_who_is_held_out_is_validated_by_one_example(world):
    batches = validation_examples(world.lake, world.batch, Items(world.lake, world.batch))
    assert sum(len(batch.targets) for batch in batches) == 6  # of twelve
    assert sorted(batch.fold for batch in batches) == [0]
