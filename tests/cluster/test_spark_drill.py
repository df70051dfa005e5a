from pathlib import Path

import pytest

from cluster.spark_drill import BUILT, INGESTED, run
from cluster.standalone import PORT

ROUNDING = 1e-5  # what a batch that is rebuilt may be off by
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def seen(machine, tmp_path_factory):  # noqa: ARG001
    return run(Path(tmp_path_factory.mktemp("spark")))


@pytest.mark.parametrize("table", INGESTED + BUILT)
def test_the_cluster_makes_the_same_rows_as_one_machine(seen, table):
    assert seen.tables[table].rows > 100
    assert seen.tables[table].same
    assert seen.tables[table].apart < ROUNDING


def test_the_jobs_ran_on_both_workers(seen):
    assert seen.executors == ["tp-worker-1", "tp-worker-2"]


def test_a_job_without_the_secret_gets_no_executor(seen):
    assert "All masters are unresponsive" in seen.stranger


def test_nothing_of_spark_answers_outside_of_the_private_net(seen):
    for ports in seen.ports.values():
        assert ports.public == [22]
    assert [PORT in ports.private for ports in seen.ports.values()] == [True, False, False]
    assert all(6066 not in ports.private for ports in seen.ports.values())
