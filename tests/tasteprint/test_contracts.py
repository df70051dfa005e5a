import shutil
from pathlib import Path

import pytest

from schemas.contract import FOLDER, contract_names
from tasteprint.cli import main

OURS = Path(str(FOLDER))


@pytest.fixture
def newer(tmp_path):
    """A copy of our contracts, to be changed."""
    return Path(shutil.copytree(OURS, tmp_path / "newer"))


def said(capsys, *argv) -> str:
    main(["contracts", *map(str, argv)])
    return capsys.readouterr().out


def refused(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["contracts", *map(str, argv)])
    assert ended.value.code == 2
    return capsys.readouterr().err


def replace(file, *pairs):
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)


@pytest.mark.parametrize("command", ["", "lint", "diff", "docs"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["contracts", *command.split(), "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_lint_says_how_many_contracts_are_complete(capsys):
    assert said(capsys, "lint") == f"{len(contract_names())} contracts are complete\n"


def test_lint_names_what_is_missing(newer, capsys):
    replace(newer / "users.yaml", ("name: user-representation platform", "description: us"))
    assert "users.yaml: no owner" in refused(capsys, "lint", newer)


def test_nothing_has_changed_between_two_copies(newer, capsys):
    assert said(capsys, "diff", OURS / "users.yaml", newer / "users.yaml") == "no changes\n"


def test_a_breaking_change_is_refused_without_a_new_major_version(newer, capsys):
    replace(newer / "listens.yaml", ("value: ms", "value: s"))
    assert refused(capsys, "diff", OURS / "listens.yaml", newer / "listens.yaml") == (
        "error: the versions do not say what changed:\n"
        "listens 1.1.0 -> 1.1.0 needs a new major version:\n"
        "  - column ms_played had the unit ms, and has s\n"
    )


def test_with_a_new_major_version_a_breaking_change_is_told(newer, capsys):
    replace(newer / "listens.yaml", ("value: ms", "value: s"), ("1.1.0", "2.0.0"))
    shown = said(capsys, "diff", OURS / "listens.yaml", newer / "listens.yaml")
    assert shown == "breaking listens: column ms_played had the unit ms, and has s\n"


def test_the_catalogue_is_one_page(tmp_path, capsys):
    place = tmp_path / "site" / "tables.html"
    assert said(capsys, "docs", "--out", place) == f"{place}\n"
    page = place.read_text()
    assert page.startswith("<!doctype html>")
    assert all(f'id="{name}"' in page for name in contract_names())
