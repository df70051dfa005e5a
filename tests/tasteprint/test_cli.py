import pytest

from tasteprint.cli import main


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
        "drain",
        "batches",
        "batches list",
        "batches show",
        "batches promote",
        "batches diff",
        "batches rollback",
        "batches refresh",
        "batches rebuild",
        "batches retire",
        "batches open",
        "consumers",
        "consumers list",
        "consumers register",
        "consumers ready",
        "consumers remove",
        "export",
        "gates",
        "gates show",
        "gates override",
        "evaluate",
        "evaluate future-listening",
        "evaluate first-hours",
        "evaluate neighbourhoods",
        "evaluate stability",
    ],
)
def test_every_command_explains_itself(command, capsys):
    assert status(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ")
    assert len(shown.splitlines()) > 5


def test_an_unknown_flag_is_an_error(capsys):
    assert status("run", "--no-such-flag") == 2
    assert "--no-such-flag" in capsys.readouterr().err
