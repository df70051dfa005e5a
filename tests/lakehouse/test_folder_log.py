import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse import folder_log
from lakehouse.event_log import MAX_PAYLOAD, LogDamagedError, LogFullError, Record
from lakehouse.folder_log import (
    HEADER,
    FolderReader,
    FolderWriter,
    ends,
    frame,
    partitions,
    read,
    remove_before,
    unframed,
)
from schemas.errors import InputError

ROOT = Path(__file__).parents[2]
ALL = 10_000
MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")
LATER = 2**62  # microseconds; nothing is newer
WRITES = """
import asyncio, sys
from pathlib import Path
from lakehouse.folder_log import FolderWriter

async def load(writer, name):
    for number in range(10**9):
        await writer.append([b"%s:%d:%d" % (name, number, each) for each in range(2)])
        print(f"{name.decode()}:{number}", flush=True)

async def main():
    writer = FolderWriter(Path(sys.argv[1]), segment_bytes=4000)
    await asyncio.gather(*(load(writer, name) for name in (b"a", b"b", b"c")))

asyncio.run(main())
"""
READS = """
import sys, time
from pathlib import Path
from lakehouse.folder_log import FolderReader
reader = FolderReader(Path(sys.argv[1]), "nrt", lambda _: None)
print(len(reader.poll(100, 60.0)), flush=True)
time.sleep(600)
"""

records = st.builds(Record, st.integers(0, 2**62), st.binary(max_size=40))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def new_writer(folder):
    """A function that opens writers, which are closed in the end."""
    opened = []

    def made(**settings) -> FolderWriter:
        opened.append(FolderWriter(folder, **settings))
        return opened[-1]

    yield made
    for writer in opened:
        writer.close()


@pytest.fixture
def new_reader(folder):
    """A function that opens readers, which are closed in the end."""
    opened = []

    def made(group: str = "nrt", start=lambda _: None, since: int = 0) -> FolderReader:
        opened.append(FolderReader(folder, group, start, since))
        return opened[-1]

    yield made
    for reader in opened:
        reader.close()


@pytest.fixture
def new_process():
    """A function that runs a script in a process, which is killed in the end."""
    started = []

    def made(script: str, *argv: object) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *map(str, argv)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        )
        return started[-1]

    yield made
    for process in started:
        if process.returncode is None:
            killed(process)


def mounts(*argv: object) -> bool:
    """Whether this mount is granted."""
    return subprocess.run([MOUNT, *argv], check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk in memory, by its options."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        if not MOUNT or not mounts("-t", "tmpfs", "-o", options, "tmpfs", place):
            pytest.skip("only root can mount a small disk")
        mounted.append(place)
        return place

    yield mount
    for each in mounted:
        subprocess.run([UMOUNT, each], check=True)


def killed(process: subprocess.Popen) -> str:
    """What a process had printed when it was killed."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    return said


def append(writer: FolderWriter, *payloads: bytes) -> None:
    """Append events one after the other, each synced."""

    async def write() -> None:
        for payload in payloads:
            await writer.append([payload])

    asyncio.run(write())


def payloads(found: list[Record]) -> list[bytes]:
    return [record.payload for record in found]


def numbered(begin: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(begin, end)]


def segments(folder: Path, partition: str) -> list[Path]:
    return sorted((folder / partition).glob("*.log"))


@given(st.lists(records), st.binary(max_size=60), st.integers(0, 20))
def test_frames_hold_what_was_put_in_and_a_torn_one_is_not_given(several, torn, most):
    begun = frame(Record(1, b"never whole" + torn))
    content = b"".join(map(frame, several)) + begun[: len(begun) - 1]
    found, taken = unframed(content, most)
    assert found == several[:most]
    assert taken == sum(HEADER.size + len(record.payload) for record in found)


@given(records, st.data())
def test_a_frame_with_any_bit_changed_is_no_frame(record, data):
    content = bytearray(frame(record))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    assert unframed(bytes(content), 1) == ([], 0)


def test_zeros_as_a_crash_of_the_machine_leaves_them_are_no_records():
    assert unframed(bytes(4096), ALL) == ([], 0)


def test_what_is_appended_is_read_in_order_with_its_moment(new_writer, new_reader):
    before = time.time_ns() // 1000
    writer = new_writer()
    append(writer, *numbered(0, 5), b"")
    reader = new_reader()
    found = reader.poll(2, 5.0) + reader.poll(ALL, 5.0)
    assert payloads(found) == [*numbered(0, 5), b""]
    moments = [record.at for record in found]
    assert moments == sorted(moments)
    assert before <= moments[0] <= moments[-1] <= time.time_ns() // 1000
    assert reader.poll(ALL, 0.0) == []


def test_a_position_is_where_the_next_reader_goes_on(new_writer, new_reader):
    writer = new_writer()
    append(writer, *numbered(0, 5))
    first = new_reader()
    first.poll(3, 5.0)
    position = first.position()
    first.commit()
    first.close()
    assert list(position) == [writer.partition]
    assert payloads(new_reader(start=position.get).poll(ALL, 5.0)) == numbered(3, 5)


def test_those_who_append_while_a_sync_runs_share_the_next(new_writer, monkeypatch):
    writer = new_writer()
    append(writer, b"makes the segment")
    began, may_end, synced = threading.Event(), threading.Event(), []
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        synced.append(descriptor)
        began.set()
        assert may_end.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(folder_log.os, "fsync", slow)

    async def write() -> None:
        first = asyncio.create_task(writer.append([b"first"]))
        await asyncio.to_thread(began.wait, 60)
        others = [asyncio.create_task(writer.append([payload])) for payload in numbered(0, 500)]
        await asyncio.sleep(0)
        may_end.set()
        await asyncio.gather(first, *others)

    asyncio.run(write())
    monkeypatch.undo()
    assert len(synced) == 2
    found, _ = read(writer._place.parent, writer.partition, 0, ALL)
    assert payloads(found) == [b"makes the segment", b"first", *numbered(0, 500)]


def test_nobody_sees_what_is_not_synced_yet(new_writer, folder, monkeypatch):
    writer = new_writer()
    seen = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        seen.append((ends(folder), read(folder, writer.partition, 0, ALL)))
        fsync(descriptor)

    monkeypatch.setattr(folder_log.os, "fsync", look)
    append(writer, b"a")
    assert seen == [({writer.partition: 0}, ([], 0))] * 2  # the folder's sync, and the segment's
    assert payloads(read(folder, writer.partition, 0, ALL)[0]) == [b"a"]


def test_who_is_cancelled_does_not_take_the_others_along(new_writer, folder):
    writer = new_writer()

    async def write() -> None:
        one, other = (asyncio.create_task(writer.append([name])) for name in (b"one", b"other"))
        await asyncio.sleep(0)
        one.cancel()
        await other

    asyncio.run(write())
    assert b"other" in payloads(read(folder, writer.partition, 0, ALL)[0])


def test_segments_follow_each_other_and_read_as_one(new_writer, new_reader, folder):
    writer = new_writer(segment_bytes=100)
    append(writer, *numbered(0, 50))
    found = segments(folder, writer.partition)
    assert len(found) > 5
    assert [int(path.stem) for path in found[1:]] == [
        int(path.stem) + path.stat().st_size for path in found[:-1]
    ]
    reader, read_back = new_reader(), []
    while more := reader.poll(7, 0.0):
        read_back += more
    assert payloads(read_back) == numbered(0, 50)


def test_a_reader_reads_two_writers_at_once_and_those_that_come_later(new_writer, new_reader):
    reader = new_reader()
    assert reader.poll(ALL, 0.0) == []
    one, other = new_writer(), new_writer()
    seen = []

    def follow() -> None:
        give_up = time.monotonic() + 60
        while len(seen) < 400 and time.monotonic() < give_up:
            seen.extend(reader.poll(30, 0.1))

    thread = threading.Thread(target=follow)
    thread.start()

    async def write() -> None:
        for number in range(200):
            await asyncio.gather(one.append([b"a%d" % number]), other.append([b"b%d" % number]))

    asyncio.run(write())
    thread.join()
    found = payloads(seen)
    for name in (b"a", b"b"):
        of_one = [payload for payload in found if payload.startswith(name)]
        assert of_one == [b"%s%d" % (name, number) for number in range(200)]
    assert set(reader.position()) == {one.partition, other.partition}


def test_a_busy_partition_does_not_keep_the_others_waiting(new_writer, new_reader):
    busy, quiet = new_writer(), new_writer()
    append(busy, *numbered(0, 50))
    append(quiet, b"quiet")
    reader = new_reader()
    assert b"quiet" in payloads(reader.poll(5, 1.0) + reader.poll(5, 1.0) + reader.poll(5, 1.0))


def test_of_a_group_one_reader_holds_a_partition_and_every_group_reads_all(new_writer, new_reader):
    append(new_writer(), b"a")
    first, second, other = new_reader(), new_reader(), new_reader("other")
    assert payloads(first.poll(ALL, 1.0)) == [b"a"]
    assert second.poll(ALL, 0.0) == []
    assert second.position() == {}
    assert payloads(other.poll(ALL, 1.0)) == [b"a"]
    first.close()
    assert payloads(second.poll(ALL, 30.0)) == [b"a"]


def test_the_partitions_of_a_killed_reader_go_to_another(
    new_writer, new_reader, new_process, folder
):
    append(new_writer(), *numbered(0, 3))
    process = new_process(READS, folder)
    assert process.stdout.readline() == "3\n"
    reader = new_reader()
    assert reader.poll(ALL, 0.0) == []
    killed(process)
    assert payloads(reader.poll(ALL, 30.0)) == numbered(0, 3)


def test_where_the_store_cannot_say_where_to_start_the_partition_stays_free(new_writer, new_reader):
    append(new_writer(), b"a")

    def broken(_: str) -> None:
        raise FileNotFoundError("the store")

    with pytest.raises(FileNotFoundError, match="the store"):
        new_reader(start=broken).poll(ALL, 0.0)
    assert payloads(new_reader().poll(ALL, 0.0)) == [b"a"]


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.11, 0.29])
def test_of_a_killed_writer_everything_that_was_answered_is_read_exactly_once(
    moment, new_reader, new_process, folder
):
    answered, seen = [], []
    reader = new_reader()
    for _ in range(2):
        process = new_process(WRITES, folder)
        process.stdout.readline()
        time.sleep(moment + os.urandom(1)[0] / 5000)  # another each time
        seen += reader.poll(500, 0.0)  # some while it writes, the rest after its death
        answered.append(killed(process).rpartition("\n")[0].splitlines())
    while more := reader.poll(ALL, 1.0):
        seen += more
    assert reader.backlog() == 0
    assert len(partitions(folder)) == 2
    assert sum(map(len, answered)) > 0
    by_writer = [payloads(read_all(folder, name)) for name in partitions(folder)]
    assert sorted(payloads(seen)) == sorted(by_writer[0] + by_writer[1])
    for lines, found in zip(answered, by_writer, strict=True):
        assert len(found) == len(set(found))
        wanted = {f"{line}:{each}".encode() for line in lines for each in range(2)}
        assert wanted <= set(found)


def read_all(folder: Path, partition: str) -> list[Record]:
    found, offset = [], 0
    while (more := read(folder, partition, offset, 999))[0]:
        found += more[0]
        offset = more[1]
    return found


@pytest.mark.parametrize("left", [1, HEADER.size, HEADER.size + 3])
def test_a_torn_tail_is_where_the_partition_of_a_dead_writer_ends(
    left, new_writer, new_reader, folder
):
    writer = new_writer()
    append(writer, *numbered(0, 3))
    (segment,) = segments(folder, writer.partition)
    end = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(frame(Record(time.time_ns() // 1000, b"torn by a crash"))[:left])
    reader = new_reader()
    assert payloads(reader.poll(ALL, 1.0)) == numbered(0, 3)
    writer.close()
    assert reader.poll(ALL, 0.5) == []
    assert reader.position() == ends(folder) == {writer.partition: end}
    assert reader.backlog() == 0


@pytest.mark.parametrize("mark", [b"", bytes(12), b"\xff" * 12])
def test_after_a_crash_of_the_machine_a_partition_goes_on_as_long_as_frames_are_whole(
    mark, new_writer, new_reader, folder
):
    writer = new_writer(segment_bytes=100)
    append(writer, *numbered(0, 20))
    writer.close()
    (folder / writer.partition / "writer").write_bytes(mark)
    with segments(folder, writer.partition)[-1].open("ab") as file:
        file.write(bytes(100))
    reader, found = new_reader(), []
    while more := reader.poll(ALL, 0.0):
        found += more
    assert payloads(found) == numbered(0, 20)


@pytest.mark.parametrize("alive", [True, False])
def test_a_changed_byte_is_told_with_file_and_offset_and_what_is_before_it_is_read(
    alive, new_writer, new_reader, folder
):
    writer = new_writer()
    append(writer, b"one", b"two", b"three")
    if not alive:
        writer.close()
    (segment,) = segments(folder, writer.partition)
    begin = HEADER.size + len(b"one")
    content = bytearray(segment.read_bytes())
    content[begin + HEADER.size] ^= 1
    segment.write_bytes(content)
    reader = new_reader()
    assert payloads(reader.poll(ALL, 0.0)) == [b"one"]
    with pytest.raises(LogDamagedError, match=f"{segment} is damaged at byte {begin}, offset"):
        reader.poll(ALL, 0.0)
    assert reader.position() == {writer.partition: begin}


def test_a_missing_segment_is_told(new_writer, folder):
    writer = new_writer(segment_bytes=1)
    append(writer, b"one", b"two", b"three")
    first, second, _ = segments(folder, writer.partition)
    second.unlink()
    with pytest.raises(LogDamagedError, match=str(first)):
        read_all(folder, writer.partition)


def test_a_full_disk_takes_none_of_a_group_and_is_used_again_once_there_is_space(small_disk):
    disk = small_disk("size=256k")
    writer = FolderWriter(disk / "log")
    append(writer, b"before")
    filler = disk / "filler"
    filler.write_bytes(bytes(100_000))
    many = [bytes(50_000)] * 4

    async def write(*groups: list[bytes]) -> list:
        tries = (writer.append(group) for group in groups)
        return await asyncio.gather(*tries, return_exceptions=True)

    for error in asyncio.run(write(many, [b"of the same group"])):
        assert isinstance(error, LogFullError)
        assert "No space left on device. None of these events is taken" in str(error)
    append(writer, b"small enough")
    filler.unlink()
    assert asyncio.run(write(many[:2])) == [None]
    found = read_all(disk / "log", writer.partition)
    assert payloads(found) == [b"before", b"small enough", *many[:2]]
    writer.close()
    assert read_all(disk / "log", writer.partition) == found


def test_a_read_only_disk_is_told_of_and_read(small_disk):
    disk = small_disk("size=256k")
    writer = FolderWriter(disk / "log")
    append(writer, b"a")
    writer.close()
    assert mounts("-o", "remount,ro", disk)
    late = FolderWriter(disk / "log")
    with pytest.raises(LogFullError, match="Read-only file system"):
        append(late, b"b")
    assert payloads(read_all(disk / "log", writer.partition)) == [b"a"]
    reader = FolderReader(disk / "log", "group", lambda _: None)
    with pytest.raises(LogFullError, match="cannot be read on"):
        reader.poll(ALL, 0)
    assert mounts("-o", "remount,rw", disk)
    append(late, b"b")
    assert sorted(payloads(reader.poll(ALL, 1))) == [b"a", b"b"]
    reader.close()
    late.close()


@pytest.mark.parametrize("broken", ["pwrite", "fsync"])
def test_what_a_failing_disk_leaves_is_never_read(broken, new_writer, folder, monkeypatch):
    writer = new_writer()
    append(writer, b"before")
    working = getattr(os, broken)

    def fails(descriptor: int, *rest: object) -> None:
        if broken == "pwrite":
            working(descriptor, rest[0][:5], rest[1])
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(folder_log.os, broken, fails)
        with pytest.raises(LogFullError, match="Input/output error"):
            append(writer, b"lost")
    append(writer, b"after")
    assert payloads(read_all(folder, writer.partition)) == [b"before", b"after"]
    writer.close()
    assert payloads(read_all(folder, writer.partition)) == [b"before", b"after"]


def test_what_could_not_be_cut_off_ends_where_the_next_segment_begins(
    new_writer, folder, monkeypatch
):
    writer = new_writer()
    append(writer, b"before")

    def fails(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(folder_log, "_tell", fails)
        patch.setattr(FolderWriter, "_take_back", lambda self: setattr(self, "_segment", None))
        with pytest.raises(LogFullError):
            append(writer, b"stays in the file")
    append(writer, b"after")
    writer.close()
    assert payloads(read_all(folder, writer.partition)) == [b"before", b"after"]


def test_a_moment_leaves_out_older_records_and_their_segments(
    new_writer, new_reader, folder, monkeypatch
):
    writer = new_writer(segment_bytes=60)
    clock = iter(range(1_000_000, 100_000_000, 1_000_000))
    monkeypatch.setattr(folder_log.time, "time_ns", lambda: next(clock))
    append(writer, *numbered(0, 20))  # at 1000, 2000, ... microseconds
    monkeypatch.undo()
    for since, first in ((0, 0), (1000, 0), (7500, 7), (8000, 7), (20_000, 19)):
        reader = new_reader(f"from-{since}", since=since)
        found = []
        while more := reader.poll(ALL, 0.0):
            found += more
        assert payloads(found) == numbered(first, 20)
    segments(folder, writer.partition)[0].write_bytes(b"damaged, and not needed")
    assert payloads(new_reader("later", since=15_000).poll(1, 0.1)) == [b"14"]


def test_a_position_of_the_store_goes_before_the_moment(new_writer, new_reader):
    append(new_writer(), *numbered(0, 3))
    reader = new_reader(start=lambda _: HEADER.size + 1, since=LATER)
    assert payloads(reader.poll(ALL, 0.0)) == numbered(1, 3)


def test_the_backlog_is_what_is_durable_and_not_polled_yet(new_writer, new_reader):
    append(new_writer(), *numbered(0, 5))
    reader = new_reader()
    reader.poll(2, 1.0)
    assert (reader.backlog(), reader.backlog_unit) == (3 * (HEADER.size + 1), "bytes")
    reader.poll(ALL, 1.0)
    assert reader.backlog() == 0


def test_what_nobody_needs_is_removed_whole_segments_at_a_time(new_writer, new_reader, folder):
    writer = new_writer(segment_bytes=100)
    append(writer, *numbered(0, 50))
    reader, seen = new_reader(), 0
    while seen < 20:
        seen += len(reader.poll(20 - seen, 1.0))
    before = segments(folder, writer.partition)
    sizes = {path: path.stat().st_size for path in before}
    offset = reader.position()[writer.partition]
    freed = remove_before(folder, reader.position(), LATER)
    gone = [path for path in before if not path.exists()]
    assert gone == [path for path in before if int(path.stem) + sizes[path] <= offset]
    assert 0 < freed == sum(sizes[path] for path in gone)
    assert remove_before(folder, reader.position(), LATER) == 0
    assert payloads(reader.poll(ALL, 0.0))[0] == b"20"
    assert payloads(read(folder, writer.partition, 0, 1)[0]) == [b"18"]


def test_nothing_is_removed_that_is_new_or_of_no_known_position(new_writer, folder):
    writer = new_writer(segment_bytes=100)
    before = time.time_ns() // 1000
    append(writer, *numbered(0, 50))
    assert remove_before(folder, {}, LATER) == 0
    assert remove_before(folder, ends(folder), before) == 0
    writer.close()
    assert remove_before(folder, ends(folder), before) == 0
    assert payloads(read_all(folder, writer.partition)) == numbered(0, 50)


def test_the_segment_that_is_written_stays_and_the_partition_of_the_dead_goes(
    new_writer, new_reader, folder
):
    alive, dead = new_writer(), new_writer()
    append(alive, b"a")
    append(dead, b"b")
    reader = new_reader()
    reader.poll(ALL, 1.0)
    dead.close()
    assert remove_before(folder, ends(folder), LATER) == HEADER.size + 1
    assert partitions(folder) == [alive.partition]
    assert sorted(path.name for path in folder.iterdir()) == [alive.partition]
    append(alive, b"c")
    assert payloads(reader.poll(ALL, 5.0)) == [b"c"]
    time.sleep(folder_log.RESCAN)
    reader.poll(ALL, 0.0)
    assert list(reader.position()) == [alive.partition]


def test_a_partition_that_was_never_written_goes_with_its_writer(new_writer, folder):
    writer = new_writer()
    assert remove_before(folder, {}, LATER) == 0
    assert partitions(folder) == [writer.partition]
    writer.close()
    remove_before(folder, {}, LATER)
    assert list(folder.iterdir()) == []


def test_what_a_death_while_making_or_removing_left_is_swept(new_writer, folder):
    writer = new_writer()
    writer.close()
    left = folder / f".{writer.partition}"
    (folder / writer.partition).rename(left)
    assert partitions(folder) == []
    remove_before(folder, {}, 0)
    assert left.exists()
    remove_before(folder, {}, LATER)
    assert not left.exists()


def test_a_partition_that_is_removed_meanwhile_is_no_error(new_writer, new_reader, folder):
    for _ in range(30):
        writer = new_writer()
        append(writer, b"a")
        writer.close()
    done = ends(folder)
    reader = new_reader(start=done.get)

    def remove() -> None:
        for name in done:
            remove_before(folder, {name: done[name]}, LATER)

    thread = threading.Thread(target=remove)
    thread.start()
    while thread.is_alive():
        reader._looked = (0.0, 0)  # looks each time
        assert reader.poll(ALL, 0.0) == []
        ends(folder)
    reader._looked = (0.0, 0)
    assert reader.poll(ALL, 0.0) == []
    assert reader.position() == {}


def test_the_partitions_of_a_log_are_named_in_the_order_of_time(new_writer, folder):
    names = [new_writer().partition for _ in range(5)]
    assert partitions(folder) == names
    (folder / "notes.txt").touch()
    assert partitions(folder) == names
    assert partitions(folder / "nowhere") == []


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a:b", ".hidden", "a b", "ü"])
def test_a_name_that_can_be_no_file_is_refused(name, folder):
    with pytest.raises(InputError, match="is no name of a group"):
        FolderReader(folder, name, lambda _: None)
    with pytest.raises(InputError, match="has no partition"):
        read(folder, name, 0, 1)


def test_an_event_that_is_too_long_is_refused_with_all_that_came_with_it(new_writer, folder):
    writer = new_writer()
    longest = bytes(MAX_PAYLOAD)
    append(writer, longest)
    with pytest.raises(InputError, match="an event of 524289 bytes is longer"):
        asyncio.run(writer.append([b"a", longest + b"x"]))
    assert payloads(read_all(folder, writer.partition)) == [longest]


def test_a_closed_writer_says_so_and_may_be_closed_again(new_writer):
    writer = new_writer()
    writer.close()
    writer.close()
    with pytest.raises(InputError, match="was closed"):
        append(writer, b"a")


def test_what_waits_when_the_log_is_closed_is_told(new_writer, folder):
    writer = new_writer()

    async def write() -> list:
        first = asyncio.create_task(writer.append([b"first"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.create_task(writer.append([b"late"]))
        await asyncio.sleep(0)
        writer.close()
        return await asyncio.gather(first, late, return_exceptions=True)

    first, late = asyncio.run(write())
    assert first is None
    assert isinstance(late, InputError)
    assert payloads(read_all(folder, writer.partition)) == [b"first"]


def test_a_writer_holds_its_lock_from_before_it_is_seen(new_writer, folder):
    writer = new_writer()
    with (folder / writer.partition / "writer").open("rb") as file:
        content = file.read()
        assert content == bytes(8) + zlib.crc32(bytes(8)).to_bytes(4, "little")
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
