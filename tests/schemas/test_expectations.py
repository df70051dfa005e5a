import json

import pytest

from schemas.contract import contract, contract_names
from schemas.expectations import list_length, suite


def by_check(table):
    return {item["meta"]["check"]: item for item in suite(contract(table))}


def kinds(table):
    return {item["type"] for item in suite(contract(table))}


@pytest.mark.parametrize("name", contract_names())
def test_every_expectation_is_a_sentence_about_a_column_the_gate_sees(name):
    agreed = contract(name)
    seen = {
        column + mark
        for column in agreed.column_names
        for mark in ("", "__length", "__norm", "__finite")
    }
    for item in suite(agreed):
        named = {item["kwargs"].get(part) for part in ("column", "column_A", "column_B")}
        assert named <= {None, *seen}
        assert item["description"]
        json.dumps(item)


@pytest.mark.parametrize("name", contract_names())
def test_every_check_has_an_id_of_its_own_and_a_level(name):
    found = suite(contract(name))
    assert len({item["meta"]["check"] for item in found}) == len(found)
    assert {item["meta"]["level"] for item in found} == {"fail"}


def test_ids_of_checks_stay_the_same():
    assert set(by_check("track_vectors")) == {
        "not_empty",
        "batch_id.not_null",
        "item_id.not_null",
        "vector.not_null",
        "vector.norm",
        "vector.finite",
        "vector.length",
        "support.not_null",
        "support.range",
        "source.not_null",
        "source.allowed",
        "key.unique",
    }
    assert {"event_id.unique", "event_id.text_length"} <= set(by_check("listens"))


def test_a_rule_of_low_severity_only_warns(edited):
    def soften(document):
        document.schema_[0].quality[0].severity = "warning"

    levels = {
        item["meta"]["check"]: item["meta"]["level"] for item in suite(edited("listens", soften))
    }
    assert levels["not_empty"] == "warn"
    assert levels["event_id.not_null"] == "fail"


def test_a_key_of_one_column_is_unique_and_one_of_several_is_unique_together():
    assert "expect_column_values_to_be_unique" in kinds("listens")
    assert "expect_compound_columns_to_be_unique" not in kinds("listens")
    assert "expect_compound_columns_to_be_unique" in kinds("track_vectors")
    assert "expect_column_values_to_be_unique" not in kinds("track_vectors")


def test_vectors_are_expected_to_be_finite_and_of_their_length_and_norm():
    found = by_check("track_vectors")
    assert found["vector.finite"]["description"] == "vector holds only finite numbers"
    assert found["vector.length"]["description"] == "vector holds exactly 80 numbers"
    assert found["vector.length"]["kwargs"]["column"] == "vector__length"
    assert found["vector.norm"]["kwargs"]["column"] == "vector__norm"


def test_lists_of_one_user_are_expected_to_go_side_by_side():
    gaps = by_check("user_sequences")["gaps_per_play"]["kwargs"]
    assert gaps == {"column_A": "item_ids__length", "column_B": "gaps__length"}


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("track_vectors", "vector", "exactly 80 numbers"),
        ("semantic_ids", "codes", "4 to 6 entries"),
        ("training_examples", "targets", "at least 1 entry"),
    ],
)
def test_lengths_of_lists_are_said_in_words(table, column, words):
    assert list_length(contract(table)[column]) == words
