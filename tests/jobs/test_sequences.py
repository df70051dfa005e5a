import numpy as np
import pyarrow as pa

from jobs.plays import Plays
from jobs.sequences import last_plays
from models.events import HOUR, SECOND

IDS = pa.array(["t0", "t1", "t2"])
DURATIONS = np.array([100_000.0, np.nan, 0.0])  # milliseconds


def plays(rows: list[tuple[str, int, int, float]]) -> Plays:
    """Plays of users, of item, at so many seconds, for so many milliseconds."""
    users, items, at, ms = zip(*rows, strict=True)
    table = pa.table(
        {
            "user_id": pa.array(users).dictionary_encode(),
            "item": pa.array(items, pa.int32()),
            "item_id": pa.nulls(len(rows), pa.string()).dictionary_encode(),
            "at": pa.array([second * SECOND for second in at], pa.int64()),
            "tie": pa.array(range(len(rows)), pa.int64()),
            "ms_played": pa.array(ms, pa.int32()),
            **{
                name: pa.array(["word", None][:1] * len(rows)).dictionary_encode()
                for name in ("item_kind", "surface", "device")
            },
        }
    )
    return Plays.of(table, pa.array(sorted(set(users))), IDS)


def test_of_each_user_the_last_plays_are_kept_oldest_first():
    drawn = [("b", 0, 30, 0), ("a", 2, 9, 0), ("a", 1, 5, 0), ("a", 0, 7, 0), ("a", 1, 1, 0)]
    users, columns = last_plays(plays(drawn), 3, DURATIONS)
    assert users.tolist() == [0, 1]
    assert columns["item_ids"].to_pylist() == [["t1", "t0", "t2"], ["t0"]]
    assert columns["gaps"].to_pylist() == [[0, 2, 2], [0]]
    assert [moment.second for moment in columns["last_played_at"].to_pylist()] == [9, 30]


def test_hours_are_those_of_the_day_and_words_come_with_each_play():
    drawn = [("a", 0, 26 * HOUR // SECOND, 0), ("a", 0, 23 * HOUR // SECOND, 0)]
    _, columns = last_plays(plays(drawn), 9, DURATIONS)
    assert columns["hours"].to_pylist() == [[23, 2]]
    assert columns["surfaces"].to_pylist() == [["word", "word"]]


def test_what_was_heard_is_a_share_of_the_length_and_all_where_that_is_unknown():
    drawn = [("a", 0, 1, 25_000), ("a", 0, 2, 900_000), ("a", 1, 3, 5), ("a", 2, 4, 5)]
    _, columns = last_plays(plays(drawn), 9, DURATIONS)
    assert columns["completions"].to_pylist() == [[0.25, 1, 1, 1]]
