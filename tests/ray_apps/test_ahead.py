import threading

import pytest

from ray_apps.ahead import ahead


def test_all_come_in_their_order():
    assert list(ahead(range(10), 3)) == list(range(10))
    assert list(ahead([], 3)) == []


def test_the_next_is_made_while_one_is_used():
    second = threading.Event()

    def things():
        yield 1
        second.set()
        yield 2

    for _ in ahead(things(), 1):
        assert second.wait(10)


def test_no_more_are_made_than_were_asked_for():
    made = []

    def things():
        for number in range(10):
            made.append(number)
            yield number

    taken = ahead(things(), 2)
    assert next(taken) == 0
    taken.close()
    assert len(made) <= 3


def test_an_error_comes_after_what_came_before_it():
    def things():
        yield 1
        raise ValueError("torn")

    taken = ahead(things(), 2)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="torn"):
        next(taken)
