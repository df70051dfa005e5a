import pytest

from models.baselines import BASELINES
from tasteprint.cli import main


@pytest.fixture
def argv(evaluated, two_spaces):
    """A comparison that has everything it needs."""
    two_spaces(users=20)
    return evaluated("neighbourhoods")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--baselines", "alls"], "there is no baseline alls: there are als"),
        (["--settings", '{"easy": {"penalty": 3}}'], "there is no baseline easy"),
        (["--settings", '{"ease": {"penalty": 3}}'], "ease, which --baselines does not name"),
        (["--baselines", "ease", "--settings", '{"ease": {"penalti": 3}}'], "penalti"),
        (["--baselines", "als", "--settings", '{"als": {"scale": "cubic"}}'], "'log' or 'count'"),
        (["--batch", "b7"], "b7"),
    ],
)
def test_what_is_wrong_is_said_at_once(argv, more, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*argv, *more])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_batch_without_vectors_cannot_be_measured(lake, argv, capsys):
    batch = lake.batches.get("live")
    opened = lake.batches.open(batch.as_of, batch.parents, "", "0.1.0").batch_id
    with pytest.raises(SystemExit):
        main([*argv, "--batch", opened])
    assert f"batch {opened} has no user vectors" in capsys.readouterr().err


def test_baselines_are_compared_where_they_are_named_and_fitted_once(argv, tmp_path, capsys):
    fitted = tmp_path / "report" / "fitted"
    main([*argv, "--baselines", "nmf"])
    (kept,) = fitted.iterdir()
    moment = kept.stat().st_mtime_ns
    main([*argv, "--baselines", "nmf"])
    assert [file.stat().st_mtime_ns for file in fitted.iterdir()] == [moment]
    assert BASELINES["nmf"].title in capsys.readouterr().out
