from itertools import pairwise

import pytest
from rich.console import Console

from jobs.build_track_vectors import BuildTrackVectors
from ray_apps.train_user_model import TrainUserModel
from schemas.errors import GateError, InputError
from schemas.stores import DELTA_PACKAGE, HADOOP_AWS
from tasteprint.engines import Step, execute, flags, log_file, ray_step, spark_step
from tasteprint.opening import ROOT

WHERE = {"lakehouse": "lake", "batch_id": "b1"}


@pytest.mark.parametrize(
    "settings",
    [
        BuildTrackVectors(**WHERE, window=3, shift=2.5, seed=9),
        TrainUserModel(**WHERE, gpus=True, training={"epochs": 3, "batch_size": 64}),
        TrainUserModel(**WHERE),
    ],
)
def test_a_recorded_recipe_gives_the_same_settings_again(settings):
    where = ["--lakehouse", "lake", "--batch-id", "b1"]
    assert type(settings).parse([*where, *flags(settings.recipe())]) == settings


def test_what_was_not_set_is_not_given_again():
    assert list(flags({"seed": 1, "address": None})) == ["--seed", "1"]


def test_logs_lie_beside_a_local_lakehouse(tmp_path):
    assert log_file(str(tmp_path / "lake"), "ingest") == tmp_path / "logs" / "ingest.log"


def test_logs_of_a_lakehouse_elsewhere_lie_in_the_current_folder():
    assert str(log_file("s3://bucket/lake", "ingest")) == "var/logs/ingest.log"


def test_a_step_runs_where_the_person_says():
    here = ray_step("embed", "embed", "batch_embed", ["--batch-id", "b"], None).command
    there = ray_step("embed", "embed", "batch_embed", ["--batch-id", "b"], "http://h:1").command
    assert "submit" not in here
    assert there[1:5] == ["job", "submit", "--address", "http://h:1"]
    assert "--master" in spark_step("ingest", "ingest", "ingest", [], "--master local[1]").command


def test_spark_is_given_what_reads_s3_where_needed_and_the_person_has_the_last_word():
    here, there = (
        spark_step("ingest", "ingest", "ingest", ["--lakehouse", uri], "--packages mine").command
        for uri in ("var/lake", "s3://bucket/lake")
    )
    assert here.count("--packages") == 1
    packages = [word for before, word in pairwise(there) if before == "--packages"]
    assert packages == [f"{DELTA_PACKAGE},{HADOOP_AWS}", "mine"]
    assert f"{DELTA_PACKAGE}\n" in (ROOT / "spark.conf").read_text()


@pytest.mark.parametrize("error", [GateError, InputError])
def test_an_error_of_ours_keeps_its_kind(error, tmp_path):

    command = ["sh", "-c", f"echo 'error: no' >&2; exit {error.exit_status}"]
    with pytest.raises(error, match="no"):
        execute(Step("a", "a step", command), str(tmp_path / "lake"), Console(quiet=True))
