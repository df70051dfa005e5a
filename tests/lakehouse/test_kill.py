"""Kill -9 at every line of publishing and of promoting: readers see the old or the new, whole.

A line is where the process dies just before running it. Each death happens in a process of its
own, forked from a server that has imported everything, on its own copy of one small lakehouse. On
an object store, which is slower, every third line stands for all.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

from lakehouse import batches as batches_module
from lakehouse import publish as publish_module
from lakehouse.files import write_file
from lakehouse.publish import publish_files
from lakehouse.storage import Lakehouse
from schemas.stores import is_s3

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1200)]

TABLE = "track_vectors"
OLD, NEW = "old.parquet", "new.parquet"


@pytest.fixture(params=["disk", "object store"])
def lake(request, tmp_path):
    if request.param == "object store":
        return request.getfixturevalue("remote_lake")
    return Lakehouse(str(tmp_path / "lake"))


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.lakehouse.preload"])
    sys.path.insert(0, str(Path(__file__).parents[2]))
    return context


def publish(uri: str, batch_id: str) -> None:
    """Publish the new rows of a batch that has the old ones."""
    lake = Lakehouse(uri)
    publish_files(lake, TABLE, [NEW], lake.batches.get(batch_id))


def promote(uri: str, batch_id: str) -> None:
    Lakehouse(uri).batches.promote(batch_id, ready={"ranker"})


WATCHED = {publish: publish_module.__file__, promote: batches_module.__file__}


def copied(lake, name: str) -> str:
    """The URI of a copy that lies beside a lakehouse."""
    root, beside = lake.filesystem._strip_protocol(lake.uri), Lakehouse(f"{lake.uri}-{name}")
    for place in lake.filesystem.find(lake.uri):
        with beside.whole_file(beside.uri + place.removeprefix(root)) as file:
            file.write(lake.filesystem.cat_file(place))
    return beside.uri


def traced(action, uri, batch_id, until, seen, environment) -> None:
    """Run an action; note each line of its module that it reaches, or die at one of them."""
    os.environ.update(environment)  # whoever forks us may be older than the object store

    def watch(frame, event, _argument):
        if frame.f_code.co_filename != WATCHED[action]:
            return None
        if event == "line":
            if frame.f_lineno == until:
                os.kill(os.getpid(), signal.SIGKILL)
            if seen is not None:
                seen.append(frame.f_lineno)
        return watch

    sys.settrace(watch)
    action(uri, batch_id)


def started(processes, *arguments):
    """A process that runs an action."""
    process = processes.Process(target=traced, args=(*arguments, dict(os.environ)))
    process.start()
    return process


def lines_of(processes, action, lake, batch_id: str) -> list[int]:
    """Every line of its module that an action runs through, in order."""
    with processes.Manager() as manager:
        seen = manager.list()
        process = started(processes, action, copied(lake, "traced"), batch_id, None, seen)
        process.join()
        assert process.exitcode == 0
        return list(dict.fromkeys(seen))


def killed_at_each_line(processes, action, lake, batch_id: str):
    """The lakehouse after a death at each line in turn; in an object store, at each third."""
    lines = lines_of(processes, action, lake, batch_id)
    assert len(lines) > 20
    for line in lines[:: 3 if is_s3(lake.uri) else 1]:
        uri = copied(lake, f"killed-{line}")
        process = started(processes, action, uri, batch_id, line, None)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        yield Lakehouse(uri)
        lake.filesystem.rm(uri, recursive=True)


def items(lake, batch_id) -> list[int]:
    """The support of each row that a reader of the batch sees."""
    return lake.read(TABLE, batch_id)["support"].to_pylist()


def test_a_death_at_any_line_of_publishing_shows_nobody_half_a_table(
    processes, lake, batch, track_vectors
):
    for name, seed in ((OLD, 1), (NEW, 2)):
        write_file(lake, TABLE, name, track_vectors(batch.batch_id, seed=seed))
    publish_files(lake, TABLE, [OLD], batch)
    for after in killed_at_each_line(processes, publish, lake, batch.batch_id):
        assert items(after, batch.batch_id) in ([1] * 6, [2] * 6)
        publish_files(after, TABLE, [NEW], after.batches.get(batch.batch_id))
        assert items(after, batch.batch_id) == [2] * 6


def test_a_death_at_any_line_of_promotion_leaves_one_live_batch_and_every_consumer_its_batch(
    processes, lake, batches, batch
):
    other = batches.open(batch.as_of, batch.parents, "s", "v")
    for one in (batch, other):
        batches.record(one.batch_id, state="candidate")
    batches.promote(batch.batch_id)
    batches.move_consumer("ranker", batch.batch_id)
    for after in killed_at_each_line(processes, promote, lake, other.batch_id):
        states = {one.batch_id: one.state for one in after.batches.list()}
        live = after.batches.get("live")
        assert sorted(states.values()) in (["candidate", "live"], ["legacy", "live"])
        assert live.consumers == ("ranker",)
        if live.batch_id == batch.batch_id:
            promote(after.uri, other.batch_id)
        assert after.batches.get("live").batch_id == other.batch_id
