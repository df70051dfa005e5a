import json

import numpy as np
import pytest
from scipy.stats import ortho_group

from models.layout import VECTOR_SIZE
from tasteprint.cli import main

TURN = ortho_group.rvs(VECTOR_SIZE, random_state=1)


@pytest.fixture
def argv(evaluated, two_spaces):
    two_spaces(turn=TURN, noise=0.1)
    return evaluated("stability", "--batch", "live", "--other", "legacy")


def test_two_batches_are_compared_and_told_in_three_files(lake, argv, tmp_path, capsys):
    pytest.importorskip("plotly")
    main(argv)
    said = capsys.readouterr().out
    assert "users, through the bridge: cosine 0.9" in said
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    of = {(row["protocol"], row["representation"], row["metric"]): row["value"] for row in figures}
    kept = [
        of[f"stability/{way}", "users", "neighbours kept"]
        for way in ("as it is", "through the bridge")
    ]
    assert np.diff(kept) > 0.3
    html, text = (tmp_path / "report" / name for name in ("report.html", "report.md"))
    assert 'id="histogram"' in html.read_text()
    for told in (html.read_text(), text.read_text()):
        assert "How far they move" in told
        assert all(lake.batches.get(name).batch_id in told for name in ("live", "legacy"))
    assert not lake.exists("bridges")


def test_a_dry_run_says_which_batches_it_would_compare(lake, argv, tmp_path, capsys):
    main([*argv, "--dry-run"])
    assert f"old batch {lake.batches.get('legacy').batch_id}" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()


def test_one_batch_is_not_compared_with_itself(argv, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*argv, "--other", "live"])
    assert "nothing to bridge" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
