import pytest

from lakehouse.batches import BatchRegistry
from tasteprint.cli import main


def said(capsys, *argv: str) -> str:
    main(argv)
    return capsys.readouterr().out


def status(*argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    return ended.value.code


@pytest.mark.parametrize(
    "command",
    [
        "",
        "run",
        "doctor",
        "batches",
        "batches list",
        "batches show",
        "batches promote",
        "batches open",
    ],
)
def test_every_command_explains_itself(command, capsys):
    assert status(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ")
    assert len(shown.splitlines()) > 5


def test_batches_are_listed_with_their_states(lake, batch_of, capsys):
    batch = batch_of(lake)
    shown = said(capsys, "batches", "list", "--lakehouse", lake.uri)
    assert batch.batch_id in shown
    assert "building" in shown


def test_a_candidate_is_promoted_and_shown_as_live(lake, batch_of, capsys):
    batch = batch_of(lake, state="candidate")
    main(["batches", "promote", batch.batch_id, "--lakehouse", lake.uri])
    shown = said(capsys, "batches", "show", "live", "--lakehouse", lake.uri)
    assert batch.batch_id in shown
    assert "listens at 0" in shown


def test_a_batch_that_is_building_is_not_promoted(lake, batch_of, capsys):
    batch = batch_of(lake)
    assert status("batches", "promote", batch.batch_id, "--lakehouse", lake.uri) == 4
    assert "only a candidate" in capsys.readouterr().err
    assert BatchRegistry(lake).get(batch.batch_id).state == "building"


def test_a_lakehouse_without_batches_is_an_error_not_an_empty_table(tmp_path, capsys):
    assert status("batches", "list", "--lakehouse", str(tmp_path / "nothing")) == 2
    assert "has no table batches" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_an_unknown_flag_is_an_error(capsys):
    assert status("run", "--no-such-flag") == 2
    assert "--no-such-flag" in capsys.readouterr().err
