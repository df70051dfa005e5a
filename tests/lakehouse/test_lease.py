import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lakehouse import lease as lease_module
from lakehouse.lease import SPARK_COMMITS, Lease, committing
from schemas.contract import contract_names
from schemas.errors import LeaseError

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys, time
from lakehouse.lease import Lease
from schemas.s3 import S3FileSystem
lease = Lease(S3FileSystem(), sys.argv[1], seconds=2.0)
lease.take()
with lease.renewed():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def new_lease(s3_store, s3_uri):
    """A function that makes a lease on the same file, as each process does."""
    return lambda **times: Lease(s3_store, f"{s3_uri}/leases/items.json", **times)


@pytest.fixture
def holder(s3_uri):
    """A process that holds a lease of two seconds, and renews it until it is ended."""
    place = f"{s3_uri}/leases/items.json"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, place], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def lease_file(remote_lake):
    """What the lease of items says."""
    place = f"{remote_lake.uri}/leases/items.json"
    return lambda: json.loads(remote_lake.filesystem.cat_file(place))


def test_a_lease_that_is_given_back_is_the_next_ones_at_once(new_lease):
    first, second = new_lease(), new_lease(patience=0.0)
    first.take()
    first.give_back()
    begun = time.monotonic()
    second.take()
    assert time.monotonic() - begun < 1


def test_whoever_waits_too_long_is_told_who_holds_it_and_until_when(new_lease, holder, capsys):
    with pytest.raises(
        LeaseError, match=rf"process {holder.pid}\) commits to this table.* seconds"
    ):
        new_lease(patience=0.5).take()
    assert capsys.readouterr().err.count("waiting for -c on") == 1


def test_a_lease_is_kept_as_long_as_its_holder_lives(new_lease, holder):
    with pytest.raises(LeaseError):
        new_lease(patience=6.0).take()  # three times as long as it runs
    assert holder.poll() is None


def test_the_lease_of_a_process_that_was_killed_goes_over_when_it_ends(new_lease, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    killed = time.monotonic()
    lease = new_lease()
    lease.take()
    assert 1 < time.monotonic() - killed < 6
    lease.require_held()


def test_a_holder_that_was_halted_learns_that_it_lost_the_lease(new_lease):
    halted, other = new_lease(seconds=1.0), new_lease()
    halted.take()
    other.take()  # after a second, and what the clock may be off
    with halted.renewed():
        time.sleep(0.5)  # its thread tries to renew it meanwhile
    halted.give_back()
    with pytest.raises(LeaseError, match="ended while this process committed"):
        halted.require_held()
    other.require_held()


def test_of_many_who_wait_one_holds_it_at_a_time(new_lease):
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        lease = new_lease()
        lease.take()
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.05)
        with lock:
            inside -= 1
        lease.give_back()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_commits_holds_the_lease_meanwhile_and_not_after(remote_lake, lease_file):
    with committing(remote_lake, "items"):
        assert lease_file()["seconds"] == lease_module.SECONDS
        with committing(remote_lake, "items"):
            pass
        remote_lake.ensure("items")
        assert lease_file()["seconds"] == lease_module.SECONDS
    assert lease_file()["seconds"] == 0


def test_a_commit_that_fails_gives_the_lease_back_and_says_why_it_failed(remote_lake, lease_file):
    with pytest.raises(ValueError, match="no"), committing(remote_lake, "items"):
        raise ValueError("no")
    assert lease_file()["seconds"] == 0


def test_tables_without_spark_and_folders_have_no_leases(remote_lake, lake):
    remote_lake.ensure("batches")
    lake.ensure("items")
    for one in (remote_lake, lake):
        assert not one.filesystem.exists(f"{one.uri}/leases")


def test_every_table_that_spark_commits_to_has_a_contract():
    assert set(contract_names()) > SPARK_COMMITS
