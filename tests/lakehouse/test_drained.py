import asyncio
import json
import shutil

import pytest

from lakehouse.drained import AT_ONCE, DrainedLog, Span, alone, drain_summary, records
from lakehouse.event_log import LogDamagedError
from lakehouse.folder_log import FolderWriter, ends, remove_before
from schemas.errors import InputError

SMALL = 2_000  # bytes of a segment


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "events"


@pytest.fixture
def write(folder):
    """A function that adds payloads to the log, as one writer that goes on."""
    writer = FolderWriter(folder, segment_bytes=SMALL)
    yield lambda *payloads: asyncio.run(_append(writer, payloads))
    writer.close()


async def _append(writer, payloads):
    for payload in payloads:
        await writer.append([payload])


def payloads(folder, span):
    return [record.payload for _, record in records(folder, span)]


def test_a_drain_reads_what_came_since_the_one_before(lake, folder, write):
    write(b"a", b"b")
    log = DrainedLog(lake, folder)
    first = log.begin(ends(folder))
    assert payloads(folder, first) == [b"a", b"b"]
    log.end(first)
    assert log.begin(ends(folder)) is None
    write(b"c")
    second = log.begin(ends(folder))
    assert payloads(folder, second) == [b"c"]
    assert second.run_id != first.run_id


def test_a_drain_that_died_is_repeated_up_to_where_it_would_have_ended(lake, folder, write):
    write(b"a")
    begun = DrainedLog(lake, folder).begin(ends(folder))
    write(b"b")
    again = DrainedLog(lake, folder).begin(ends(folder))
    assert again == begun
    assert again.run_id == begun.run_id
    assert payloads(folder, again) == [b"a"]


def test_every_record_of_many_segments_is_read_once_wherever_the_parts_are_cut(lake, folder, write):
    written = [f"{number}".encode() * 50 for number in range(100)]
    log, found = DrainedLog(lake, folder), []
    for start in range(0, 100, 30):
        write(*written[start : start + 30])
        span = log.begin(ends(folder))
        write(b"later")  # which is the next one's
        found += payloads(folder, span)
        log.end(span)
    assert [each for each in found if each != b"later"] == written
    assert found.count(b"later") == 3


def test_partitions_are_read_one_after_another(lake, folder, write):
    write(b"a")
    other = FolderWriter(folder)
    asyncio.run(other.append([b"x"] * (AT_ONCE + 1)))
    span = DrainedLog(lake, folder).begin(ends(folder))
    write(b"b")
    names = [name for name, _ in records(folder, span)]
    assert names == sorted(names)
    assert payloads(folder, span) == [b"a"] + [b"x"] * (AT_ONCE + 1)
    other.close()


def test_what_was_drained_may_be_removed(lake, folder, write):
    write(*[b"a" * 500] * 20)
    log = DrainedLog(lake, folder)
    log.end(log.begin(ends(folder)))
    assert remove_before(folder, log.offsets, 2**60) > SMALL
    write(b"b")
    assert payloads(folder, log.begin(ends(folder))) == [b"b"]


def test_a_log_keeps_its_id_where_it_is_moved(lake, folder, write, tmp_path):
    write(b"a")
    log = DrainedLog(lake, folder)
    log.end(log.begin(ends(folder)))
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert DrainedLog(lake, moved).begin(ends(moved)) is None


def test_of_partitions_that_are_gone_nothing_is_kept(lake, folder, write):
    write(b"a")
    log = DrainedLog(lake, folder)
    log.end(log.begin(ends(folder)))
    log.end(Span({}, {"gone": 3}))
    assert log.offsets == ends(folder)


def test_the_lakehouse_keeps_offsets_and_no_events(lake, folder, write):
    write(b"somebody")
    log = DrainedLog(lake, folder)
    log.end(log.begin(ends(folder)))
    (place,) = lake.filesystem.glob(f"{lake.uri}/drains/*.json")
    assert json.loads(lake.filesystem.cat_file(place)) == {"drained": ends(folder), "until": {}}


def test_a_log_that_lost_what_a_drain_has_begun_to_read_is_told_of(lake, folder, write):
    write(b"a")
    log = DrainedLog(lake, folder)
    log.begin(ends(folder))
    with pytest.raises(InputError, match="bring it back from a copy, or remove"):
        log.begin({})


def test_a_log_that_ends_too_early_is_damaged(folder, write):
    write(b"a")
    (partition, end), *_ = ends(folder).items()
    with pytest.raises(LogDamagedError, match=f"ends at offset {end}"):
        list(records(folder, Span({}, {partition: end + 1})))


def test_no_log_is_no_empty_one(tmp_path):
    with pytest.raises(InputError, match="there is no event log in"), alone(tmp_path / "nothing"):
        pass
    with pytest.raises(InputError, match="there is no event log in"), alone(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_two_drains_at_once_the_second_is_told_to_wait(folder, write):
    write(b"a")
    with alone(folder), pytest.raises(InputError, match="is being drained"), alone(folder):
        pass
    with alone(folder):
        pass


def test_the_summary_tells_what_became_of_every_event():
    detail = {
        "events": {"listens": 9},
        "tables": {"listens": {"good": 5, "bad": 1}},
        "reasons": {"listens": {"item_id is not in items": 1}},
        "rows_of_erased": {"listens": 1},
        "refused": 3,
        "newest": "2026-03-01 12:00:00",
    }
    assert list(drain_summary(detail)) == [
        "listens: 9 events: 5 taken in, 2 repeated, 1 of erased people, 1 refused by the gate",
        "  1 rows: item_id is not in items",
        "refused by the service: 3 events, which are in quarantine",
        "the log is drained up to 2026-03-01 12:00:00 UTC",
    ]
