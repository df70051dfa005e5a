import json

import pytest

from tasteprint.cli import main
from tests.conftest import MOMENT


@pytest.fixture
def argv(evaluated, two_spaces):
    two_spaces(users=60)
    return evaluated("neighbourhoods")


def test_a_batch_is_measured_and_told_in_three_files(argv, tmp_path, capsys):
    main(argv)
    said = capsys.readouterr().out
    assert "Tasteprint's user model" in said
    assert "neighbours drawn by lot" in said
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert {row["protocol"] for row in figures} == {"neighbourhoods/main genre"}
    assert {row["representation"] for row in figures} == {
        *("user_model", "average", "average_7d", "average_30d", "average_180d", "lot")
    }
    assert all(row["low"] <= row["value"] <= row["high"] for row in figures)
    for name in ("report.html", "report.md"):
        told = (tmp_path / "report" / name).read_text()
        assert "Table 3, main genre" in told
        assert "Some listeners" in told
        assert "shared by nobody, or not told" in told


def test_a_dry_run_says_what_it_would_compare_and_whom_it_would_ask(argv, tmp_path, capsys):
    main([*argv, "--dry-run"])
    said = capsys.readouterr().out
    assert "main genre 60 users" in said
    assert said.rstrip().endswith("user_model, average, average_7d, average_30d, average_180d")
    assert not (tmp_path / "report").exists()


def test_nobody_has_to_play_later(lake, argv, capsys):
    lake.batches.record(lake.batches.get("live").batch_id, as_of=MOMENT.replace(year=2030))
    main([*argv, "--dry-run"])
    assert "main genre 60 users" in capsys.readouterr().out


def test_users_who_share_nothing_cannot_be_measured(lake, two_spaces, tmp_path, capsys):
    two_spaces(users=5)  # one for each genre
    out = str(tmp_path / "report")
    with pytest.raises(SystemExit):
        main(["evaluate", "neighbourhoods", "--lakehouse", lake.uri, "--out", out])
    assert "share anything that is known" in capsys.readouterr().err
