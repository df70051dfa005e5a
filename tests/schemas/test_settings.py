from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from schemas.settings import Settings


class Brew(Settings):
    """Brew one pot."""

    lakehouse: str
    """Where the water comes from."""
    cups: int = 2
    """How many."""
    half_lives: tuple[float, ...] = (1.0, 7.0)
    """Days."""
    bean: Literal["arabica", "robusta"] = "arabica"
    """Kind of bean."""
    milk: bool = False
    """Whether there is milk."""
    log: Path | None = None
    """Where the diary goes."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("LAKEHOUSE", "CUPS", "BEAN"):
        monkeypatch.delenv(f"TASTEPRINT_{name}", raising=False)


def refused(argv, capsys):
    with pytest.raises(SystemExit) as end:
        Brew.parse(argv)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_flags_are_the_fields_with_hyphens():
    brew = Brew.parse(["--lakehouse", "here", "--cups=3", "--half-lives", "1", "--milk"])
    assert (brew.lakehouse, brew.cups, brew.half_lives, brew.milk) == ("here", 3, (1.0,), True)


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default(monkeypatch):
    monkeypatch.setenv("TASTEPRINT_LAKEHOUSE", "from-variable")
    monkeypatch.setenv("TASTEPRINT_CUPS", "5")
    assert Brew.parse([]) == Brew(lakehouse="from-variable", cups=5)
    assert Brew.parse(["--cups", "7"]).cups == 7


def test_another_entry_points_variable_is_no_concern(monkeypatch):
    monkeypatch.setenv("TASTEPRINT_SHARED_DATA", "/somewhere")
    assert Brew.parse(["--lakehouse", "here"]).cups == 2


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Brew(lakehouse="here").cups = 9


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValidationError, match="sugar"):
        Brew(lakehouse="here", sugar=1)


def test_an_unknown_flag_ends_with_status_two(capsys):
    assert "sugar" in refused(["--lakehouse", "here", "--sugar", "1"], capsys)


def test_every_bad_value_is_named_at_once(capsys):
    said = refused(["--cups", "many", "--bean", "acorn"], capsys)
    assert "cups: Input should be a valid integer" in said
    assert "bean: Input should be 'arabica' or 'robusta'" in said
    assert "lakehouse: Field required" in said
    assert "Traceback" not in said
    assert "pydantic.dev" not in said


def test_help_shows_what_the_class_and_its_fields_say(capsys):
    with pytest.raises(SystemExit) as end:
        Brew.parse(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "Brew one pot." in said
    assert "Where the water comes from." in said
