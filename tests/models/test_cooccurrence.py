import numpy as np
from numpy.testing import assert_array_equal

from models.cooccurrence import PLAY, Line, near_pairs, nobody

GAP = 100


def line(*plays: tuple[int, int, int, float], counts: bool = True) -> Line:
    """Plays as user, item, time and weight; a user's fold is the last digit of its number."""
    user, item, at, weight = (np.array(column) for column in zip(*plays, strict=True))
    return Line(user, user % 10, item, at, weight.astype(float), np.full(len(user), counts))


def counted(plays: Line, new: int | None = None, window: int = 2, fading: float = 0.0) -> dict:
    found = near_pairs(plays, len(plays) if new is None else new, GAP, window, fading)
    columns = (found.item, found.neighbour, found.fold)
    pairs = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(pairs, (found.count / PLAY).tolist(), strict=True))


def test_each_pair_is_counted_once_under_its_smaller_item():
    plays = line((4, 7, 0, 1), (4, 3, 10, 1), (4, 7, 20, 1))
    assert counted(plays) == {(3, 7, 4): 2.0}


def test_another_user_or_a_long_silence_ends_a_session():
    assert not counted(line((4, 1, 0, 1), (14, 2, 10, 1)))
    assert not counted(line((4, 1, 0, 1), (4, 2, GAP + 1, 1)))
    assert counted(line((4, 1, 0, 1), (4, 2, GAP, 1))) == {(1, 2, 4): 1.0}


def test_a_pair_counts_less_the_farther_apart_and_the_less_was_heard():
    plays = line((0, 1, 0, 1.0), (0, 1, 1, 0.0), (0, 2, 2, 0.5))
    assert counted(plays, fading=1.0) == {(1, 2, 0): 0.25}


def test_what_was_counted_before_is_not_counted_again():
    plays = line((0, 1, 0, 1), (0, 2, 1, 1), (0, 3, 2, 1))
    assert counted(plays, new=1) == {(1, 3, 0): 1.0, (2, 3, 0): 1.0}
    first = counted(plays.last(3), new=3)
    parts = [counted(plays.last(3), new=1), counted(line((0, 1, 0, 1), (0, 2, 1, 1)))]
    assert first == parts[0] | parts[1]


def test_a_play_that_does_not_count_is_still_near_those_that_do():
    before = line((0, 1, 0, 1), (0, 2, 1, 1), counts=False)
    assert counted(before.then(line((0, 3, 2, 1)))) == {(1, 3, 0): 1.0, (2, 3, 0): 1.0}


def test_an_item_is_any_number_of_64_bits():
    most, least = (1 << 63) - 1, -(1 << 63)
    assert counted(line((4, most, 0, 1), (4, least, 1, 1))) == {(least, most, 4): 1.0}


def test_nobody_has_no_pairs():
    assert not counted(nobody())
    assert_array_equal(nobody().then(line((0, 1, 0, 1))).item, [1])
