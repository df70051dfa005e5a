import numpy as np
import pytest
from scipy.stats import ortho_group

from models.layout import VECTOR_SIZE
from tasteprint.cli import main

TURN = ortho_group.rvs(VECTOR_SIZE, random_state=1)


def said(capsys, *argv: str) -> str:
    main(["bridges", *argv])
    return capsys.readouterr().out


def status(*argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bridges", *argv])
    return ended.value.code


@pytest.fixture
def on(lake):
    """The flag that names the lakehouse."""
    return ("--lakehouse", lake.uri)


def test_a_bridge_is_built_listed_and_shown_with_what_it_keeps(two_spaces, on, capsys):
    old, new = two_spaces(turn=TURN)
    built = said(capsys, "build", "live", "legacy", *on)
    assert f"{new.batch_id} → {old.batch_id}" in built.replace("\n", " ")
    for measure in ("cosine", "neighbours", "AUC, plays", "AUC, genres"):
        assert measure in built
    assert "[bridge_users]" in built  # of the few users it warns
    shown = said(capsys, "show", new.batch_id, old.batch_id, *on)
    assert "ready" in shown
    assert "through the bridge" in shown
    assert "ready" in said(capsys, "list", *on)


def test_a_bridge_that_keeps_too_little_ends_with_the_gates_status(two_spaces, on, capsys):
    two_spaces(turn=TURN, noise=100.0)
    assert status("build", "live", "legacy", *on) == 3
    told = capsys.readouterr()
    assert "refused" in told.out
    assert "bridge_neighbours" in told.err
    assert "refused" in said(capsys, "list", *on)
    assert "refused" in said(capsys, "show", "live", "legacy", *on)


def test_what_was_never_built_is_not_shown(two_spaces, on, capsys):
    old, new = two_spaces(turn=np.eye(VECTOR_SIZE))
    assert status("show", "live", "legacy", *on) == 2
    assert f"tasteprint bridges build {new.batch_id} {old.batch_id}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "build", "list", "show"])
def test_every_command_explains_itself(command, capsys):
    assert status(*command.split(), "--help") == 0
    assert capsys.readouterr().out.startswith("usage: ")
