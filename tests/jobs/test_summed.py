import numpy as np
import pytest
from numpy.testing import assert_array_equal

from jobs import summed as module
from jobs.summed import summed

pytestmark = pytest.mark.spark

ROWS, PARTS = 1_000, 23


def shares(batch) -> np.ndarray:
    """One row of numbers whose sum in float32 depends on the order in which they are added."""
    total = np.zeros((2, 3))
    for number in batch["number"].to_pylist():
        total += np.full((2, 3), 1.1 ** (number % 97)) * np.arange(1, 7).reshape(2, 3)
    return total


@pytest.fixture(scope="module")
def frame(spark):
    numbers = spark.createDataFrame([(number,) for number in range(ROWS)], "number int")
    return numbers.repartition(PARTS, "number").sortWithinPartitions("number").persist()


@pytest.fixture
def small(monkeypatch):
    """So little memory that a process holds four shares, and the tree has three floors."""
    monkeypatch.setattr(module, "TOGETHER", 4 * 6 * 4)


@pytest.mark.usefixtures("small")
def test_every_batch_is_in_the_sum_whatever_the_height_of_the_tree(frame):
    by_hand = sum(1.1 ** (number % 97) for number in range(ROWS))
    total = summed(frame, shares, (2, 3))
    np.testing.assert_allclose(total, by_hand * np.arange(1, 7).reshape(2, 3), rtol=1e-5)


@pytest.mark.usefixtures("small")
def test_the_same_rows_give_the_same_bits(frame):
    assert_array_equal(summed(frame, shares, (2, 3)), summed(frame, shares, (2, 3)))


@pytest.mark.usefixtures("small")
def test_partitions_without_rows_add_nothing(frame):
    assert_array_equal(summed(frame.where("number < 0"), shares, (2, 3)), np.zeros((2, 3)))


def test_numbers_of_eight_bytes_stay_what_they_are(frame):
    exact = summed(frame, lambda batch: np.full(1, batch.num_rows + 2.0**40), (1,), np.float64)
    assert exact[0] >= ROWS + 2.0**40
    assert exact[0] % 2.0**40 == ROWS
