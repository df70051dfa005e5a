import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.gate import audit
from lakehouse.overrides import override
from schemas.contract import contract
from schemas.errors import InputError

TABLE = "track_vectors"
UNKNOWN, DOUBLE = "live.references", "key.unique"


@pytest.fixture
def stopped(lake, batch, track_vectors, tmp_path):
    """A function that brings a batch with an item nobody knows, twice, to its gate."""

    def come(run_id=None):
        rows = track_vectors(run_id or batch.batch_id)
        names = ["t0", "t1", "t2", "t3", "nobody's", "nobody's"]
        rows = rows.set_column(rows.schema.get_field_index("item_id"), "item_id", [names])
        pq.write_table(rows.cast(contract(TABLE).arrow_schema), tmp_path / "rows.parquet")
        return audit(lake, TABLE, run_id or batch.batch_id, [str(tmp_path / "rows.parquet")], None)

    return come


def failed(verdict):
    return {check.check for check in verdict.checks if check.stops}


def test_who_is_named_with_a_reason_lets_exactly_one_check_pass(lake, batch, stopped):
    assert failed(stopped()) == {UNKNOWN, DOUBLE}
    override(lake, batch.batch_id, TABLE, UNKNOWN, "Ada", "the catalogue comes tomorrow")
    again = stopped()
    assert failed(again) == {DOUBLE}
    assert again.outcome == "failed"
    said = next(check.overridden for check in again.checks if check.check == UNKNOWN)
    assert said == "Ada: the catalogue comes tomorrow"


def test_where_all_that_failed_is_overridden_the_run_may_go_on(lake, batch, stopped):
    stopped()
    for check in (UNKNOWN, DOUBLE):
        override(lake, batch.batch_id, TABLE, check, "Ada", "it is a rehearsal")
    again = stopped()
    assert again.outcome == "overridden"
    again.require("the report")


def test_an_override_is_kept_once_and_shown_with_the_verdict(lake, batch, stopped):
    stopped()
    for _ in range(2):
        override(lake, batch.batch_id, TABLE, UNKNOWN, "Ada", "the catalogue comes tomorrow")
    kept = lake.open("overrides").to_pyarrow_table().to_pylist()
    assert [(row["check"], row["overridden_by"], row["reason"]) for row in kept] == [
        (UNKNOWN, "Ada", "the catalogue comes tomorrow")
    ]
    stopped()
    written = lake.open("validations").to_pyarrow_table().sort_by("checked_at").to_pylist()
    assert [row["overridden"] for row in written if row["check"] == UNKNOWN] == [
        None,
        "Ada: the catalogue comes tomorrow",
    ]


def test_an_override_holds_for_its_run_alone(lake, batches, batch, stopped):
    stopped()
    override(lake, batch.batch_id, TABLE, UNKNOWN, "Ada", "the catalogue comes tomorrow")
    other = batches.open(batch.as_of, batch.parents, "settings", "0.1.0").batch_id
    assert failed(stopped(other)) == {UNKNOWN, DOUBLE}


def test_a_batch_that_the_gate_has_stopped_may_be_built_further(lake, batches, batch, stopped):
    stopped()
    batches.record(batch.batch_id, state="failed")
    override(lake, batch.batch_id, TABLE, UNKNOWN, "Ada", "the catalogue comes tomorrow")
    assert batches.get(batch.batch_id).state == "building"


@pytest.mark.parametrize(
    ("by", "reason"), [("", "why not"), ("Ada", ""), (" ", "x"), ("Ada", "\n")]
)
def test_nobody_and_no_reason_override_nothing(lake, batch, stopped, by, reason):
    stopped()
    with pytest.raises(InputError, match="needs a name and a reason"):
        override(lake, batch.batch_id, TABLE, UNKNOWN, by, reason)
    assert not lake.exists("overrides")


def test_only_what_failed_is_overridden(lake, batch, stopped):
    stopped()
    with pytest.raises(
        InputError, match=rf"'source.allowed' has not failed .* {DOUBLE}, {UNKNOWN}"
    ):
        override(lake, batch.batch_id, TABLE, "source.allowed", "Ada", "to be sure")
    with pytest.raises(InputError, match=r"in the gate of items of .*; what has: nothing"):
        override(lake, batch.batch_id, "items", UNKNOWN, "Ada", "to be sure")
    assert not lake.exists("overrides")


def test_what_failed_once_and_then_held_is_not_overridden(
    lake, batch, stopped, track_vectors, tmp_path
):
    stopped()
    good = tmp_path / "good.parquet"
    pq.write_table(track_vectors(batch.batch_id), good)
    assert audit(lake, TABLE, batch.batch_id, [str(good)], None).outcome == "passed"
    with pytest.raises(InputError, match="what has: nothing"):
        override(lake, batch.batch_id, TABLE, UNKNOWN, "Ada", "to be sure")


def test_a_run_that_came_to_no_gate_has_nothing_to_override(lake):
    lake.append("validations", pa.Table.from_pylist([], contract("validations").arrow_schema))
    with pytest.raises(InputError, match="what has: nothing"):
        override(lake, "r", TABLE, UNKNOWN, "Ada", "to be sure")
