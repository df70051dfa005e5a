import numpy as np
import pyarrow as pa
import pytest
import torch

from models.codebook import Codebook
from models.layout import VECTOR_SIZE
from models.training import Examples, ItemTable
from ray_apps.examples import Items, Rows, by_fold, draw_batches, split, validation_examples
from schemas.arrow import list_column


def items(known: dict[int, list[str]], index: list[str]) -> Items:
    """Items of which each fold's others have played some."""
    import pandas as pd

    found = Items.__new__(Items)
    found.index = pd.Index(index)
    vectors = np.zeros((len(index), VECTOR_SIZE), np.float32)
    found.tables = {
        fold: ItemTable.of(vectors, np.isin(index, heard).astype(float), Codebook())
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


def examples(known: Items, *told: tuple[int, list[str], float]) -> list[Examples]:
    """What is left of the rows, one batch for each fold."""
    found = known.rows(rows(*told))
    return [found.examples(places) for places in by_fold(found, np.arange(len(found)))]


def numbers(examples: Examples) -> list[int]:
    """Which rows the examples were."""
    return [int(value) for value in examples.features[:, 0]]


CATALOGUE = ["a", "b", "c"]


def test_rows_become_examples_one_fold_at_a_time():
    known = items({0: CATALOGUE, 1: CATALOGUE}, CATALOGUE)
    found = examples(known, (1, ["a"], 1), (0, ["b", "c"], 1), (1, ["c"], 1))
    assert [(one.fold, numbers(one)) for one in found] == [(0, [1]), (1, [0, 2])]
    assert [own.tolist() for own in found[0].targets] == [[1, 2]]


def test_targets_that_only_the_users_own_fold_knows_do_not_count():
    known = items({0: ["a"], 1: CATALOGUE}, CATALOGUE)
    found = examples(known, (0, ["a", "b", "gone"], 1), (0, ["b"], 1), (1, ["b"], 1))
    assert [(one.fold, numbers(one)) for one in found] == [(0, [0]), (1, [2])]
    assert [own.tolist() for own in found[0].targets] == [[0]]


def test_a_fold_of_whose_items_nobody_else_knows_any_gives_no_examples():
    known = items({1: CATALOGUE}, CATALOGUE)
    found = examples(known, (0, ["a"], 1), (1, ["b"], 1), (2, ["a"], 1))
    assert [(one.fold, numbers(one)) for one in found] == [(1, [1])]


@pytest.mark.parametrize(
    ("size", "lengths"), [(4, [4, 3, 3]), (100, [10]), (3, [4, 3, 3]), (1, [1] * 10)]
)
def test_parts_are_of_nearly_equal_length_and_lose_nobody(size, lengths):
    parts = split(np.arange(10), size, np.random.default_rng(0))
    assert sorted((len(part) for part in parts), reverse=True) in (lengths, [5, 5])
    assert sorted(number for part in parts for number in part) == list(range(10))


def test_an_example_is_drawn_as_often_as_its_weight_says():
    known = items({0: CATALOGUE}, CATALOGUE).rows(rows((0, ["a"], 1.0), (0, ["a"], 0.25)))
    rng = np.random.default_rng(0)
    drawn = [draw_batches(known, np.arange(2), 2, rng) for _ in range(400)]
    shown = np.bincount([number for batches in drawn for one in batches for number in numbers(one)])
    assert shown[0] == 400
    assert shown[1] == pytest.approx(100, abs=30)


def test_users_keep_their_targets_wherever_they_are_drawn():
    table = rows(*[(row % 2, ["abc"[row % 3]], 1.0) for row in range(30)])
    known = items({0: CATALOGUE, 1: CATALOGUE}, CATALOGUE).rows(table)
    for batch in draw_batches(known, np.arange(30), 4, np.random.default_rng(0)):
        assert [number % 3 for number in numbers(batch)] == [int(own[0]) for own in batch.targets]
        assert {number % 2 for number in numbers(batch)} == {batch.fold}


def test_rows_that_are_put_together_keep_their_targets():
    known = items({0: CATALOGUE}, CATALOGUE)
    parts = [known.rows(rows((0, ["a", "b"], 1), (0, ["c"], 1))), known.rows(rows((0, ["b"], 1)))]
    both = Rows.together(parts).examples(np.array([2, 0, 1]))
    assert [own.tolist() for own in both.targets] == [[1], [0, 1], [2]]


def test_items_and_their_tables_are_those_of_the_batch(world):
    found = Items(world.lake, world.batch)
    assert found.index.tolist() == sorted(f"t{number:02d}" for number in range(20))
    assert sorted(found.tables) == [0, 1, 2, 3, 4]
    for table in found.tables.values():
        assert torch.equal(table.known[:, :VECTOR_SIZE], torch.from_numpy(world.vectors))
        assert table.played.all()


def test_each_user_who_is_held_out_is_validated_by_one_example(world):
    batches = validation_examples(world.lake, world.batch, Items(world.lake, world.batch))
    assert sum(len(batch.targets) for batch in batches) == 6  # of twelve
    assert sorted(batch.fold for batch in batches) == [0, 3, 4]
