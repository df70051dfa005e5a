import io
import sys

import pytest
from rich.console import Console

from tasteprint.steps import StepError, _follow, run_step


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=False, width=100)


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_what_a_step_prints_is_in_its_log(tmp_path, console):
    log = tmp_path / "logs" / "a.log"
    program = "import sys; print('out'); print('err', file=sys.stderr)"
    run_step("a step", python(program), log, console)
    assert sorted(log.read_text().split()) == ["err", "out"]
    assert "✓ a step" in console.file.getvalue()


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("embed: bucket 3 of 16, 1,632 users", "embed: bucket 3 of 16, 1,632 users"),
        ("(RayTrainWorker pid=7) train: epoch 2 of 20, loss 3", "train: epoch 2 of 20, loss 3"),
        (
            "\x1b[36m(RayTrainWorker pid=7, ip=10.0.0.2)\x1b[0m train: epoch 3 of 20, loss 2",
            "train: epoch 3 of 20, loss 2",
        ),
        ("(PlacementGroupCleaner pid=7) Failed to query the controller", ""),
        ("[W socket.cpp] a warning", ""),
    ],
)
def test_of_all_that_engines_print_only_progress_is_shown(printed, shown):
    latest = [""]
    _follow([f"{printed}\n"], io.StringIO(), latest)
    assert latest == [shown]


def test_a_failed_step_repeats_its_own_error_and_names_the_log(tmp_path, console):
    log = tmp_path / "a.log"
    program = (
        "import sys; print('noise'); sys.stderr.write('error: no gate\\n  - row 7\\n'); sys.exit(3)"
    )
    with pytest.raises(StepError) as caught:
        run_step("a step", python(program), log, console)
    assert caught.value.status == 3
    assert caught.value.message == f"a step: no gate\n  - row 7\n  Everything it said: {log}"


def test_a_crash_shows_the_last_lines(tmp_path, console):
    with pytest.raises(StepError, match="ZeroDivisionError"):
        run_step("a step", python("1/0"), tmp_path / "a.log", console)


def test_a_step_ends_with_its_runner(tmp_path, console, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasteprint.steps._watch", interrupt)
    started = []
    import subprocess

    real = subprocess.Popen

    def remember(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr("subprocess.Popen", remember)
    with pytest.raises(KeyboardInterrupt):
        run_step("a step", python("import time; time.sleep(600)"), tmp_path / "a.log", console)
    assert started[0].poll() is not None
