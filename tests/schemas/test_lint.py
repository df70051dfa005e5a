from pathlib import Path

import pytest

from schemas.contract import FOLDER, contract
from schemas.errors import ContractError, InputError
from schemas.lint import gaps, lint, not_odcs, read_contracts

OURS = Path(str(FOLDER))


@pytest.fixture
def written(tmp_path, edited):
    """Writes a contract, changed by a function, into a folder of its own."""

    def write(name, *edits):
        file = tmp_path / f"{name}.yaml"
        file.write_text(edited(name, *edits).document.to_yaml())
        return file

    return write


def refused(place):
    with pytest.raises(ContractError) as error:
        lint(place)
    return str(error.value)


def test_our_own_contracts_are_complete():
    assert lint(OURS) == len(list(OURS.glob("*.yaml")))


def test_everything_a_table_does_not_tell_is_said(edited):
    def silence(document):
        document.team = None
        document.slaProperties = None
        document.schema_[0].tags = None
        document.schema_[0].customProperties = None

    said = "\n".join(gaps(edited("listens", silence)))
    assert "no owner: say team.name" in said
    assert "no service level: slaProperties needs freshness or latency" in said
    assert "its first tag is None, and should be one of delivered, features" in said
    assert "no inputs: name the tables it is made from, or source files" in said
    assert "no writtenBy" in said


def test_everything_a_column_does_not_tell_is_said(edited, column_of):
    def silence(document):
        played = column_of(document, "ms_played")
        played.description, played.classification, played.customProperties = None, "secret", None
        column_of(document, "event_id").required = False

    assert list(gaps(edited("listens", silence))) == [
        "column event_id is part of the key and may be null",
        "column ms_played has no description",
        "column ms_played is classified secret: say personal or internal",
        "column ms_played has no unit: add the custom property unit",
    ]


def test_a_type_that_we_do_not_have_is_named_with_those_that_we_have(edited, column_of):
    def retype(document):
        column_of(document, "ms_played").physicalType = "varchar"

    said = next(gaps(edited("listens", retype)))
    assert said.startswith("column ms_played is varchar, and should be one of string, long, int,")


def test_a_table_without_key_says_what_a_row_is(edited):
    def silence(document):
        document.schema_[0].dataGranularityDescription = None

    assert list(gaps(contract("quarantine"))) == []
    assert "no key" in next(gaps(edited("quarantine", silence)))


def test_a_service_level_is_about_a_column_of_the_table_and_in_known_units(edited):
    def promise(document):
        document.slaProperties[0].unit = "fortnights"
        document.slaProperties[0].element = "listens.heard_at"

    assert list(gaps(edited("listens", promise))) == [
        "freshness is in fortnights, and should be in one of d, h, m",
        "freshness speaks of listens.heard_at, which is not here",
    ]


def test_rules_have_names_and_live_checks_say_what_they_check(edited):
    def silence(document):
        rules = document.schema_[0].quality
        rules[0].description = None
        del rules[1].implementation["check"]

    assert list(gaps(edited("track_vectors", silence))) == [
        "rule not_empty needs an id, a name and a description",
        "rule row_count does not name its check",
    ]


def test_the_findings_of_all_files_are_listed_at_once(written, tmp_path):
    def disown(document):
        document.team = None

    written("items")
    written("users", disown)
    (tmp_path / "broken.yaml").write_text("kind: DataContract\nid: [")
    (tmp_path / "songs.yaml").write_text((OURS / "listens.yaml").read_text())
    said = refused(tmp_path)
    assert "broken.yaml: Cannot parse YAML" in said
    assert "users.yaml: no owner" in said
    assert "songs.yaml: the file describes listens, and should be named after it" in said
    assert "items.yaml" not in said


def test_a_folder_of_contracts_speaks_of_no_table_without_one(written, tmp_path):
    written("track_vectors")
    written("listens")
    assert "it speaks of items, which has no contract" in refused(tmp_path)


def test_a_version_has_three_numbers(written):
    def call_it_two(document):
        document.version = "2"

    assert not_odcs(written("users", call_it_two)) == ["version 2 is not MAJOR.MINOR.PATCH"]


def test_one_file_is_checked_by_itself(written):
    assert lint(written("track_vectors")) == 1


def test_a_file_that_is_no_contract_is_not_read(tmp_path):
    place = tmp_path / "note.yaml"
    place.write_text("milk: 2\n")
    with pytest.raises(ContractError, match=r"note\.yaml"):
        read_contracts(place)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_place_without_contracts_is_an_error(name, tmp_path):
    with pytest.raises(InputError, match="no contracts in"):
        lint(tmp_path / name)
