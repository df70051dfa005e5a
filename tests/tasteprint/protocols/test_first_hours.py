import json

import pytest

from tasteprint.cli import main


@pytest.fixture
def argv(evaluated, first_days):
    first_days()
    return evaluated("first-hours", "--seeds", "2")


def test_newcomers_are_measured_and_told_in_three_files(argv, tmp_path, capsys):
    pytest.importorskip("plotly")
    main(argv)
    said = capsys.readouterr().out
    assert "4 hours or 20 plays, whichever is more" in said
    assert "left out, for no newcomer tells a country" in said
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert {row["protocol"] for row in figures} >= {
        "first_hours/completed",
        "first_hours/not completed",
        "first_hours/seen 5",
    }
    assert all(row["low"] <= row["value"] <= row["high"] for row in figures)
    assert "auc of dot products" in {row["metric"] for row in figures}
    for name in ("report.html", "report.md"):
        told = (tmp_path / "report" / name).read_text()
        assert "Table 2, onboarding completed: 120 users" in told
        assert "left out, below 30 users" in told
    assert 'id="first-hours"' in (tmp_path / "report" / "report.html").read_text()


def test_a_dry_run_says_whom_it_would_ask(argv, tmp_path, capsys):
    main([*argv, "--dry-run", "--hours", "0", "--first", "5"])
    said = capsys.readouterr().out
    assert "0 hours or 5 plays" in said
    assert said.rstrip().endswith("seen 5, seen 10")
    assert not (tmp_path / "report").exists()


def test_too_few_newcomers_are_not_measured(lake, first_days, tmp_path, capsys):
    first_days(newcomers=8)
    out = str(tmp_path / "report")
    with pytest.raises(SystemExit):
        main(["evaluate", "first-hours", "--lakehouse", lake.uri, "--out", out])
    assert "too few newcomers" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
