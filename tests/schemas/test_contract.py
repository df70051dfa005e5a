import json
from importlib import resources

import pyarrow as pa
import pytest

from schemas.contract import ARROW_TYPES, contract, contract_names
from schemas.errors import ContractError

LISTENS = contract("listens")


def kinds(table):
    return {item["type"] for item in contract(table).expectations()}


@pytest.mark.parametrize("name", contract_names())
def test_every_contract_is_valid_odcs(name):
    from datacontract.data_contract import DataContract

    with resources.as_file(resources.files("schemas") / "contracts" / f"{name}.yaml") as path:
        run = DataContract(data_contract_file=str(path)).lint()
    assert run.has_passed(), [check.reason for check in run.checks]
    assert "valid against ODCS v3.1.0" in run.checks[0].name


@pytest.mark.parametrize("name", contract_names())
def test_every_contract_describes_the_table_of_its_file_name(name):
    agreed = contract(name)
    assert agreed.name == name == agreed.document.id
    assert len(agreed.document.schema_) == 1
    assert agreed.document.version


@pytest.mark.parametrize("name", contract_names())
def test_every_column_says_its_type_its_meaning_and_whether_it_is_personal(name):
    agreed = contract(name)
    classified = {item.name: item.classification for item in agreed.table.properties}
    for column in agreed.columns:
        assert column.type_name in ARROW_TYPES
        assert column.description
        assert classified[column.name] in {"personal", "internal"}


@pytest.mark.parametrize("name", contract_names())
def test_every_key_must_be_filled(name):
    agreed = contract(name)
    assert all(agreed[part].required for part in agreed.key)


@pytest.mark.parametrize("name", contract_names())
def test_every_expectation_is_a_sentence_about_a_column_the_gate_sees(name):
    agreed = contract(name)
    seen = {
        column + mark
        for column in agreed.column_names
        for mark in ("", "__length", "__norm", "__finite")
    }
    for item in agreed.expectations():
        assert item["kwargs"].get("column") in {None, *seen}
        json.dumps(item)


def test_an_unknown_table_is_told_what_there_is():
    with pytest.raises(
        ContractError, match=r"no contract for 'listen'; there are batches, .*users"
    ):
        contract("listen")


def test_the_arrow_schema_follows_the_contract():
    schema = LISTENS.arrow_schema
    assert schema.names == LISTENS.column_names
    assert schema.field("event_id") == pa.field("event_id", pa.string(), nullable=False)
    assert schema.field("played_at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("ms_played") == pa.field("ms_played", pa.int64(), nullable=True)
    assert contract("track_vectors").arrow_schema.field("vector").type == pa.list_(pa.float32())


def test_keys_have_one_column_or_several_in_their_order():
    assert LISTENS.key == ("event_id",)
    assert contract("track_vectors").key == ("batch_id", "item_id")
    assert contract("quarantine").key == ()


def test_a_key_of_one_column_is_unique_and_one_of_several_is_unique_together():
    assert "expect_column_values_to_be_unique" in kinds("listens")
    assert "expect_compound_columns_to_be_unique" not in kinds("listens")
    assert "expect_compound_columns_to_be_unique" in kinds("track_vectors")
    assert "expect_column_values_to_be_unique" not in kinds("track_vectors")


def test_columns_know_their_range_their_values_and_their_length():
    assert (LISTENS["ms_played"].minimum, LISTENS["ms_played"].maximum) == (0, 86_400_000)
    assert LISTENS["item_kind"].allowed == ("track", "episode")
    assert LISTENS["event_id"].min_length == 1
    assert contract("track_vectors")["vector"].length == (80, 80)
    assert contract("track_vectors")["vector"].is_vector
    assert not contract("items")["genres"].is_vector


def test_what_tells_of_a_person_is_marked():
    assert LISTENS["user_id"].personal
    assert not LISTENS["item_id"].personal


def test_row_rules_are_sentences_with_a_condition():
    reasons = [rule.reason for rule in LISTENS.row_rules]
    assert reasons == ["played_at lies in the future", "played_at lies before 1970"]
    assert all("played_at" in rule.where for rule in LISTENS.row_rules)


def test_only_what_is_delivered_tolerates_refused_rows():
    assert LISTENS.quarantined_share_max == 0.05
    assert contract("track_vectors").quarantined_share_max == 0.0


def test_vectors_are_expected_to_be_finite_and_of_their_length_and_norm():
    said = {item.get("description") for item in contract("track_vectors").expectations()}
    assert "vector holds only finite numbers" in said
    assert "vector holds exactly 80 numbers" in said
    columns = {item["kwargs"].get("column") for item in contract("track_vectors").expectations()}
    assert {"vector__length", "vector__norm", "vector__finite"} <= columns


def test_a_fitting_schema_has_no_discrepancies_whatever_its_order():
    assert LISTENS.discrepancies(LISTENS.arrow_schema) == []
    LISTENS.check(pa.schema(reversed(list(LISTENS.arrow_schema))))


def test_all_discrepancies_are_listed_at_once():
    fields = {field.name: field.type for field in LISTENS.arrow_schema}
    del fields["user_id"], fields["surface"]
    fields |= {"played_at": pa.string(), "ms_played": pa.int32(), "mood": pa.string()}
    with pytest.raises(ContractError) as error:
        LISTENS.check(pa.schema(list(fields.items())))
    for part in (
        "listens does not fit its contract",
        "column user_id is missing",
        "column surface is missing",
        "column mood is not in the contract",
        "column played_at is string, and should be timestamp[us, tz=UTC]",
        "column ms_played is int32, and should be int64",
    ):
        assert part in str(error.value)
