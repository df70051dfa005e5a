import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasteprint.cli import main
from tests.conftest import GENRES

USERS = 60


@pytest.fixture
def argv(evaluated, two_spaces, tmp_path):
    two_spaces(users=USERS)
    likes = 0.9 * np.eye(GENRES)[np.arange(USERS) % GENRES] + 0.1 / GENRES
    rows = {"user_id": [f"u{user}" for user in range(USERS)], "end": list(likes)}
    (tmp_path / "truth").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "truth" / "part-0.parquet")
    return evaluated("truth", "--truth", str(tmp_path / "truth"))


def test_a_batch_is_probed_and_told_in_three_files(argv, tmp_path, capsys):
    main(argv)
    assert "at best, from genres" in capsys.readouterr().out
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    told = {row["representation"]: row["value"] for row in figures if row["metric"] == "R²"}
    assert told["user_model"] > 0.8
    assert told["best"] > 0.8
    for name in ("report.html", "report.md"):
        assert "What they truly like" in (tmp_path / "report" / name).read_text()


def test_a_dry_run_says_what_it_would_probe(argv, tmp_path, capsys):
    main([*argv, "--dry-run"])
    assert "would probe user_model, average" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()


def test_truth_that_is_none_is_told(argv, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*argv, "--truth", str(tmp_path / "nowhere")])
    assert "is not the truth of a simulation" in capsys.readouterr().err
