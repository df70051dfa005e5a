import json

import pandas as pd
import pytest

from models.training import TrainingConfig
from ray_apps.tune_user_model import METRIC, SPACE, main

TRIALS = 4  # if they all ran at a time they would leave Ray Data no CPU, and wait for ever
FLAGS = ["--trials", str(TRIALS), "--training.epochs", "2"]


def test_the_space_is_of_settings_that_there_are_and_holds_the_defaults():
    defaults = TrainingConfig().model_dump()
    for name, (how, values) in SPACE.items():
        if how == "choice":
            assert defaults[name] in values
        else:
            assert values[0] <= defaults[name] <= values[1]


def test_a_dry_run_prints_the_space(world, tmp_path, capsys):
    main([*world.argv, "--out", str(tmp_path / "out"), "--dry-run"])
    said = capsys.readouterr().out
    assert "learning_rate: loguniform 0.0001, 0.01" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_trials_are_written_down_best_first_and_a_search_that_ended_is_not_begun_again(
    world, tmp_path, capsys
):
    argv = [*world.argv, *FLAGS, "--out", str(tmp_path)]
    main(argv)
    rows = json.loads((tmp_path / "trials.json").read_text())
    assert [row["error"] for row in rows] == [None] * TRIALS
    assert rows[0]["epoch"] == 2
    assert all(0 <= row[METRIC] <= 1 for row in rows)
    assert rows[0]["learning_rate"] != rows[1]["learning_rate"]
    assert set(SPACE) < set(pd.read_parquet(tmp_path / "trials.parquet").columns)
    defaults = TrainingConfig().model_dump(include=set(SPACE))
    assert any(defaults.items() <= row.items() for row in rows)
    said = capsys.readouterr().out
    assert METRIC in said
    assert f"tune: {TRIALS} of {TRIALS}: " in said
    assert world.batch.model_uri is None

    main(argv)
    assert json.loads((tmp_path / "trials.json").read_text()) == rows
