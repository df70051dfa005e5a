import pytest

from ray_apps.bucket_plan import Bucket
from ray_apps.embed_progress import EmbedProgress

BUCKETS = [Bucket(number, 1_000_000, 2_000_000_000) for number in range(10)]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said():
    return []


@pytest.fixture
def progress(said, clock):
    return EmbedProgress(BUCKETS, said.append, clock)


def told(bucket: int, rows: int = 1_000_000, embedded: int | None = None, **more) -> dict:
    some = {
        "read": 2_000_000_000,
        "written": 600_000,
        "seconds": 9.0,
        "core_seconds": 8.0,
        "retries": 0,
        "reason": "",
    }
    embedded = rows if embedded is None else embedded
    return {"bucket": bucket, "rows": rows, "embedded": embedded, **some, **more}


def test_speed_and_the_time_left_begin_with_the_first_bucket(progress, said, clock):
    progress.count(told(0))
    assert said == [
        "embed: 1 of 10 buckets, 1,000,000 of 10,000,000 users, 2.0 GB read, 600.0 kB written"
    ]
    clock.now += 10
    progress.count(told(1))
    assert said[-1] == (
        "embed: 2 of 10 buckets, 2,000,000 of 10,000,000 users, 100,000 users/s, "
        "4.0 GB read, 1.2 MB written, 1:20 left"
    )


def test_it_speaks_every_few_seconds_and_at_the_end(progress, said, clock):
    for bucket in range(10):
        progress.count(told(bucket))
        clock.now += 1
    assert [line.split(" buckets")[0] for line in said] == [
        "embed: 1 of 10",
        "embed: 6 of 10",
        "embed: 10 of 10",
    ]
    assert "left" not in said[-1]


def test_what_went_wrong_is_told_at_once_and_stays(progress, said, clock):
    progress.count(told(0))
    progress.count(told(3, rows=0, retries=1, reason="OSError: no page header", read=0))
    assert said[-1] == "embed: bucket 3 is set aside: OSError: no page header"
    clock.now += 10
    progress.count(told(4, embedded=200_000, retries=1))
    assert "800,000 carried over, 2 tried again, 1 set aside" in said[-1]
    assert progress.aside == {3: "OSError: no page header"}
    assert progress.done == 2
    # Users of a bucket that was set aside hold nothing up.
    assert said[-1].endswith("0:35 left")


def test_hours_are_told_as_hours(progress, said, clock):
    progress.count(told(0))
    clock.now += 3_000
    progress.count(told(1))
    assert said[-1].endswith("6:40:00 left")
