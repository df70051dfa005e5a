import os

import pytest

from ray_apps.spread import spread

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def squared(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def test_it_gives_what_map_gives_from_other_processes():
    found = list(spread(squared, range(5)))
    assert [square for square, _ in found] == [0, 1, 4, 9, 16]
    assert os.getpid() not in {process for _, process in found}


def broken(_part: int) -> None:
    raise ValueError("no such file")


def test_what_is_raised_there_is_raised_here():
    with pytest.raises(ValueError, match="no such file"):
        list(spread(broken, [1]))
