from pathlib import Path

import pytest

from evaluation.places import item_places
from lakehouse.exports import Export
from tasteprint.cli import main


@pytest.fixture
def exported(lake, two_spaces, capsys, monkeypatch):
    """Runs ``tasteprint export`` on a lakehouse of two batches; returns what it said."""
    monkeypatch.setenv("COLUMNS", "200")
    two_spaces()

    def run(*argv: str) -> str:
        main(["export", *argv, "--lakehouse", lake.uri])
        return capsys.readouterr().out

    return run


def place(said: str) -> str:
    return said.strip().rsplit(" in ", 1)[1]


def test_users_and_items_of_the_live_batch_lie_on_one_sphere(exported, lake):
    said = exported("--format", "npy", "--format", "faiss")
    live = lake.batches.get("live")
    opened = Export.open(place(said))
    assert opened.batch_id == live.batch_id
    items = opened.items.ids.to_numpy()
    assert opened.items.vectors == pytest.approx(item_places(lake, live, items), abs=1e-6)
    found = opened.items.nearest(opened.users.table([0]), 8).ids(0)
    user = int(opened.users.ids[0].as_py()[1:])
    assert {int(item[1:]) % 5 for item in found} == {user % 5}  # tracks of the user's genre


def test_sizes_and_what_the_indexes_find_are_told(exported):
    said = exported("--format", "faiss")
    rows = [line.split() for line in said.splitlines() if line.strip().startswith(("users", "it"))]
    assert [row[:2] for row in rows] == [["users", "240"], ["items", "50"]]
    assert [row[3:6] for row in rows] == [["flat", "1.000", "1.000"]] * 2
    assert "warned" not in said


def test_a_legacy_batch_goes_elsewhere_and_only_as_parquet(exported, lake, tmp_path):
    out = tmp_path / "out"
    said = exported("legacy", "--format", "parquet", "--out", str(out))
    legacy = lake.batches.get("legacy")
    assert Path(place(said)).parent == out / legacy.batch_id
    names = {path.name for path in Path(place(said)).iterdir()}
    assert names == {"users-00000.parquet", "items-00000.parquet", "export.json"}


def test_a_second_time_it_is_there_already(exported):
    assert "there already" not in exported()
    assert "there already" in exported()
    assert "there already" in exported("--format", "npy")
    assert "there already" not in exported("--force")


def test_an_index_that_misses_its_target_is_warned_of_and_is_made(exported):
    flags = ["--index.kind", "ivf_pq", "--index.m", "1", "--index.nbits", "4"]
    said = exported("--format", "faiss", "--recall", "1", *flags, "--index.rerank", "1")
    assert "warned" in said
    assert "100.0% were asked for" in said
    assert Export.open(place(said)).users.index is not None


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["nobody"], 4, "no batch 'nobody'"),
        (["--format", "csv"], 2, "Input should be 'parquet', 'npy' or 'faiss'"),
        (["--recall", "1.5"], 2, "recall"),
        (
            ["--format", "faiss", "--index.kind", "ivf_pq", "--index.m", "48"],
            2,
            "cut into 48 codes",
        ),
    ],
)
def test_what_cannot_be_exported_is_said(exported, capsys, argv, status, said):
    with pytest.raises(SystemExit) as ended:
        exported(*argv)
    assert ended.value.code == status
    assert said in capsys.readouterr().err
