import pytest

from schemas.errors import (
    BatchError,
    ContractError,
    GateError,
    InputError,
    TasteprintError,
    entry_point,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [(TasteprintError, 1), (InputError, 2), (ContractError, 2), (GateError, 3), (BatchError, 4)],
)
def test_an_entry_point_ends_with_the_message_and_the_status_of_the_error(error, status, capsys):
    @entry_point
    def main():
        raise error("the cellar is wet: call a plumber")

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == status
    assert capsys.readouterr().err == "error: the cellar is wet: call a plumber\n"


def test_a_bug_keeps_its_traceback():
    @entry_point
    def main():
        raise KeyError("nobody thought of this")

    with pytest.raises(KeyError):
        main()


def test_an_entry_point_passes_its_arguments_on():
    got = []

    @entry_point
    def main(argv, *, loud=False):
        got.append((argv, loud))

    main(["--x"], loud=True)
    assert got == [(["--x"], True)]


def test_ctrl_c_ends_with_a_sentence_and_no_traceback(capsys):
    @entry_point
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command goes on where this one was\n"
