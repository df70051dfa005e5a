from hypothesis import given
from hypothesis import strategies as st

from lakehouse.event_codec import FILLED, TABLES, Event, decode, encode
from schemas.contract import contract

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXTS)
EVENTS = st.builds(
    Event,
    st.sampled_from(TABLES),
    st.dictionaries(TEXTS, VALUES),
    st.lists(TEXTS).map(tuple),
)


@given(EVENTS)
def test_an_event_comes_out_of_the_log_as_it_went_in(event):
    assert decode(encode(event)) == event


def test_a_good_event_says_nothing_of_reasons():
    assert (
        encode(Event("listens", {"user_id": "u"})) == b'{"table":"listens","row":{"user_id":"u"}}'
    )


def test_every_table_has_a_contract_and_belongs_to_users():
    assert all("user_id" in contract(table).column_names for table in TABLES)
    assert any(name in contract(table).column_names for table in TABLES for name in FILLED)
