import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "bench/session.py"


@pytest.fixture(scope="module")
def session():
    spec = importlib.util.spec_from_file_location("bench_session", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_worker_that_has_ended_holds_nothing(session):
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # nobody has fetched its status yet
    assert session.peak(ended.pid) == 0
    assert session.children(ended.pid) == []
    ended.wait()
    assert session.peak(ended.pid) == 0
    assert session.children(ended.pid) == []


def test_a_process_that_runs_holds_memory_and_knows_its_children(session):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in session.children(os.getpid())
        assert session.peak(os.getpid()) > 0
        child.communicate(b"\n")
