import json

import pytest

from tasteprint.cli import main


@pytest.fixture
def argv(evaluated, two_spaces):
    two_spaces()
    return evaluated("future-listening")


def test_a_batch_is_measured_and_told_in_three_files(argv, tmp_path, capsys):
    pytest.importorskip("plotly")
    main([*argv, "--baselines", "nmf"])
    said = capsys.readouterr().out
    assert "Tasteprint's user model" in said
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert {row["representation"] for row in figures} >= {"user_model", "popularity", "nmf"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in figures)
    for name in ("report.html", "report.md"):
        assert "Table 1, negatives: popularity" in (tmp_path / "report" / name).read_text()


def test_a_dry_run_says_what_it_would_compare(argv, tmp_path, capsys):
    main([*argv, "--baselines", "als,ease", "--dry-run"])
    said = capsys.readouterr().out
    assert "user_model, popularity, average" in said
    assert said.rstrip().endswith("als, ease")
    assert not (tmp_path / "report").exists()


def test_settings_are_searched_on_earlier_plays_and_told(argv, tmp_path, capsys):
    pytest.importorskip("sklearn")
    hours = str(2 / 24)  # within which the world's plays of both sides lie
    main([*argv, "--baselines", "nmf", "--trials", "2", "--horizon-days", hours])
    said = capsys.readouterr().out
    assert "NMF trial 2 of 2, AUC" in said
    assert len(list((tmp_path / "report" / "fitted").glob("trial-*.json"))) == 2
    report = (tmp_path / "report" / "report.md").read_text()
    assert "The best of 2 settings each" in report
    assert "penalty" in report
