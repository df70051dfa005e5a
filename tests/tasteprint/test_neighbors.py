import pytest

from tasteprint.cli import main


@pytest.fixture
def neighbors(lake, named_items, capsys, monkeypatch):
    """Runs ``tasteprint neighbors`` on a batch of four items; returns what it said."""
    monkeypatch.setenv("COLUMNS", "120")
    named_items(lake)

    def run(*argv: str) -> str:
        main(["neighbors", *argv, "--lakehouse", lake.uri])
        return capsys.readouterr().out

    return run


def test_names_stand_beside_cosines_the_nearest_first(neighbors):
    lines = neighbors("a", "-k", "2").splitlines()
    assert [line.split()[-1] for line in lines[-3:]] == ["a", "b", "c"]
    assert "0.994" in lines[-2]
    assert "Blue Again" in lines[-2]
    assert "Mira" in lines[-2]
    assert "blend" in lines[-2]


def test_a_track_finds_episodes_in_the_same_space(neighbors):
    said = neighbors("a", "--kind", "episode")
    assert "Talk" in said
    assert "Noise" not in said


def test_ids_may_stand_in_a_file(neighbors, tmp_path):
    (tmp_path / "ids").write_text("d\n\n a \n")
    said = neighbors("a", "--from-file", str(tmp_path / "ids"))
    assert said.index("Nearest to a") < said.index("Nearest to d")
    assert said.count("Nearest to") == 2


def test_a_title_instead_of_an_id_is_answered_with_ids(neighbors, capsys):
    with pytest.raises(SystemExit) as ended:
        neighbors("again")
    assert ended.value.code == 2
    assert "did you mean\n  b  Blue Again, Mira" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [([], "name an item"), (["--from-file", "/no/such/file"], "/no/such/file cannot be read")],
)
def test_without_an_item_there_is_nothing_to_show(neighbors, capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        neighbors(*argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
