from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import contract, contract_names
from schemas.errors import ContractError

LISTENS = contract("listens")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", contract_names())
def test_every_contract_describes_the_table_of_its_file_name(name):
    agreed = contract(name)
    assert agreed.name == name == agreed.document.id
    assert len(agreed.document.schema_) == 1
    assert agreed.document.version


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
    assert LISTENS.personal_columns == ("event_id", "user_id", "played_at")


def test_columns_know_their_unit():
    assert LISTENS["ms_played"].unit == "ms"
    assert LISTENS["played_at"].unit == "UTC"
    assert LISTENS["surface"].unit is None


def test_a_contract_says_who_answers_for_the_table_and_where_it_comes_from():
    agreed = contract("track_vectors")
    assert agreed.owner == "user-representation platform"
    assert agreed.stage == "features"
    assert agreed.inputs == ("listens", "items")
    assert agreed.written_by == "jobs/build_track_vectors.py"


@pytest.mark.parametrize("name", contract_names())
def test_the_program_that_writes_a_table_is_there(name):
    program = contract(name).written_by
    assert program == "nobody yet" or (ROOT / program).is_file()


def test_only_tables_that_grow_by_themselves_promise_to_be_fresh():
    assert LISTENS.freshness == timedelta(days=1)
    assert contract("user_embeddings").freshness == timedelta(days=7)
    assert contract("overrides").freshness is None


def test_live_checks_carry_their_bounds_and_what_else_they_need():
    checks = {check.check: check for check in contract("user_embeddings").live_checks}
    assert (checks["row_count"].warn, checks["row_count"].fail) == (0.9, 0.5)
    assert checks["references"].options == {"column": "user_id", "table": "user_features"}
    assert checks["neighbours"].name == "users keep their nearest neighbours"
    assert all(check.description for check in checks.values())
    assert LISTENS.live_checks == []


def test_row_rules_are_sentences_with_a_condition():
    reasons = [rule.reason for rule in LISTENS.row_rules]
    assert reasons == ["played_at lies in the future", "played_at lies before 1970"]
    assert all("played_at" in rule.where for rule in LISTENS.row_rules)


def test_only_what_is_delivered_tolerates_refused_rows():
    assert LISTENS.quarantined_share_max == 0.05
    assert contract("track_vectors").quarantined_share_max == 0.0


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


def without(schema, *names):
    return pa.schema([field for field in schema if field.name not in names])


def retyped(schema, **types):
    return pa.schema([(field.name, types.get(field.name, field.type)) for field in schema])


def test_a_stored_table_may_be_older_or_newer_than_its_contract():
    older = retyped(without(LISTENS.arrow_schema, "surface"), ms_played=pa.int32())
    LISTENS.check_stored(older)
    LISTENS.check_stored(LISTENS.arrow_schema.append(pa.field("mood", pa.string())))
    with pytest.raises(ContractError):
        LISTENS.check(older)


def test_whatever_else_a_stored_table_lacks_is_listed_at_once():
    stored = retyped(without(LISTENS.arrow_schema, "user_id"), ms_played=pa.float64())
    with pytest.raises(ContractError) as error:
        LISTENS.check_stored(stored)
    assert str(error.value) == (
        "listens does not fit its contract: column user_id is missing; "
        "column ms_played is double, and should be int64"
    )


def test_additions_are_the_columns_that_may_be_null_and_are_not_there():
    stored = without(LISTENS.arrow_schema, "surface", "device", "user_id")
    assert LISTENS.additions(stored) == [
        pa.field("surface", pa.string()),
        pa.field("device", pa.string()),
    ]


def test_rows_that_were_written_before_conform():
    agreed = contract("semantic_ids")
    rows = pa.table(
        {
            "mood": ["calm"],
            "codes": pa.array([[1, 2, 3, 4]], pa.list_(pa.int32())),
            "item_id": ["i"],
            "batch_id": ["b"],
        }
    )
    conforming = agreed.conform(rows)
    assert conforming.schema == agreed.arrow_schema
    assert conforming.to_pylist() == [{"batch_id": "b", "item_id": "i", "codes": [1, 2, 3, 4]}]


def test_rows_without_a_column_that_must_be_filled_do_not_conform():
    with pytest.raises(ContractError, match="column item_id is missing"):
        contract("semantic_ids").conform(pa.table({"batch_id": ["b"]}))


@given(data=st.data())
def test_any_rows_conform_to_their_contract_with_any_nullable_columns_left_out(data):
    agreed = contract(data.draw(st.sampled_from(contract_names())))
    nullable = [column.name for column in agreed.columns if not column.required]
    left_out = data.draw(st.sets(st.sampled_from(nullable))) if nullable else set()
    stored = without(agreed.arrow_schema, *left_out).empty_table()
    conforming = agreed.conform(stored)
    assert conforming.schema == agreed.arrow_schema
    assert {field.name for field in agreed.additions(stored.schema)} == left_out
