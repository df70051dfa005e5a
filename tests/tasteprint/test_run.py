import pytest
from rich.console import Console

from lakehouse.batches import BatchRegistry
from schemas.errors import GateError, InputError
from tasteprint import engines
from tasteprint.engines import Step
from tasteprint.run import Run, Runner, _plan, _simulated
from tasteprint.steps import StepError


def names(args: Run) -> list[str]:
    return [step.name for step in _plan(args, _simulated(args), "ID")]


def test_without_a_source_listeners_are_simulated_first():
    steps = ["simulate", "ingest", "track_vectors", "features", "train", "embed", "audit"]
    assert names(Run()) == steps


def test_with_a_source_nothing_is_simulated():
    assert names(Run(source="sources/thirtymusic_events.yaml", data="d"))[0] == "ingest"


def test_a_source_and_its_data_go_together(tmp_path):
    args = Run(source="sources/simulation.yaml", lakehouse=str(tmp_path / "lake"))
    with pytest.raises(InputError, match="go together"):
        Runner(args, Console(quiet=True)).run()


def test_an_unusable_source_is_an_error_before_any_process_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "run_step", lambda *_: pytest.fail("a process was started"))
    args = Run(source="sources/simulation.yaml", data=str(tmp_path), lakehouse=str(tmp_path / "l"))
    with pytest.raises(InputError, match="no file matches"):
        Runner(args, Console(quiet=True)).run()


def test_ray_steps_are_submitted_where_a_cluster_is_named():
    args = Run(ray_address="http://127.0.0.1:8265")
    commands = {step.name: step.command for step in _plan(args, _simulated(args), "ID")}
    assert commands["train"][1:5] == ["job", "submit", "--address", "http://127.0.0.1:8265"]
    assert "ray_apps/batch_embed.py" in commands["embed"]


def test_the_gap_between_sessions_comes_from_the_source():
    args = Run(source="sources/thirtymusic_histories.yaml", data="d")
    commands = {step.name: step.command for step in _plan(args, _simulated(args), "ID")}
    assert (
        commands["track_vectors"][commands["track_vectors"].index("--session-gap") + 1] == "50400.0"
    )


def test_spark_is_started_as_the_person_said():
    args = Run(spark_submit="--master local[1] --driver-memory 3g")
    command = _plan(args, _simulated(args), "ID")[0].command
    assert command[3:7] == ["--master", "local[1]", "--driver-memory", "3g"]


def failing_runner(tmp_path, monkeypatch, status: int) -> tuple[Runner, Step]:
    def fail(*_args):
        raise StepError("a step", status, "no", tmp_path / "a.log")

    monkeypatch.setattr(engines, "run_step", fail)
    runner = Runner(Run(lakehouse=str(tmp_path / "lake")), Console(quiet=True))
    return runner, Step("features", "user features", ["true"])


def test_a_failed_gate_fails_the_batch_and_keeps_the_exit_status(tmp_path, monkeypatch, batch_of):
    runner, step = failing_runner(tmp_path, monkeypatch, GateError.exit_status)
    batch = batch_of(runner.lake)
    with pytest.raises(GateError):
        runner._execute(step, batch)
    assert BatchRegistry(runner.lake).get(batch.batch_id).state == "failed"


def test_a_crash_leaves_the_batch_to_be_taken_up_again(tmp_path, monkeypatch, batch_of):
    runner, step = failing_runner(tmp_path, monkeypatch, 137)
    batch = batch_of(runner.lake)
    with pytest.raises(StepError):
        runner._execute(step, batch)
    assert BatchRegistry(runner.lake).get(batch.batch_id).state == "building"
