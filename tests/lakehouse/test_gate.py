import pickle
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lakehouse import gate
from schemas.arrow import list_column, matrix
from schemas.contract import contract
from schemas.errors import ContractError, GateError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def replaced(rows: pa.Table, row: int, **values) -> pa.Table:
    """The rows, with other values in one of them, as a careless writer would leave them."""
    changed = rows.to_pylist()
    changed[row] |= values
    loose = pa.schema([field.with_nullable(True) for field in rows.schema])
    return pa.Table.from_pylist(changed, schema=loose)


def with_number(rows: pa.Table, number: float | None) -> pa.Table:
    """The rows, with another number in the middle of the vector of row 2."""
    vector = rows.column("vector")[2].as_py()
    return replaced(rows, 2, vector=[*vector[:40], number, *vector[41:]])


CORRUPTIONS = {
    "nothing": (lambda rows: rows, set()),
    "a null key": (
        lambda rows: replaced(rows, 0, item_id=None),
        {"item_id is a primary key and must not contain null values"},
    ),
    "a key twice": (
        lambda rows: replaced(rows, 1, item_id="t0"),
        {"batch_id and item_id together occur once"},
    ),
    "a null vector": (
        lambda rows: replaced(rows, 2, vector=None),
        {"vector must be not null values"},
    ),
    "a short vector": (
        lambda rows: replaced(rows, 2, vector=[1.0] + [0.0] * 78),
        {"vector holds exactly 80 numbers"},
    ),
    "no numbers": (
        lambda rows: replaced(rows, 2, vector=[]),
        {"vector holds exactly 80 numbers", "Readers compare by dot product."},
    ),
    "NaN in a vector": (
        lambda rows: with_number(rows, float("nan")),
        {"vector holds only finite numbers"},
    ),
    "infinity in a vector": (
        lambda rows: with_number(rows, float("inf")),
        {"vector holds only finite numbers"},
    ),
    "null in a vector": (
        lambda rows: with_number(rows, None),
        {"vector holds only finite numbers"},
    ),
    "a vector of length 2": (
        lambda rows: replaced(rows, 2, vector=[2.0] + [0.0] * 79),
        {"Readers compare by dot product."},
    ),
    "a source nobody knows": (
        lambda rows: replaced(rows, 3, source="hearsay"),
        {"source must be in the set of allowed values"},
    ),
    "less than no support": (
        lambda rows: replaced(rows, 3, support=-1),
        {"support value must be at least 0"},
    ),
    "no rows": (
        lambda rows: rows.slice(0, 0),
        {"A batch without rows is a fault upstream."},
    ),
    "two things at once": (
        lambda rows: replaced(rows, 3, source="hearsay", item_id=None),
        {
            "source must be in the set of allowed values",
            "item_id is a primary key and must not contain null values",
        },
    ),
}


def broken(verdict: gate.Verdict) -> set[str]:
    return {check.expectation for check in verdict.checks if not check.success}


def staged(tmp_path, rows: pa.Table) -> str:
    place = tmp_path / "part-0.parquet"
    pq.write_table(rows, place)
    return str(place)


@pytest.mark.parametrize("fault", CORRUPTIONS)
def test_each_fault_breaks_its_own_expectation(lake, tmp_path, track_vectors, fault):
    corrupt, expected = CORRUPTIONS[fault]
    file = staged(tmp_path, corrupt(track_vectors()))
    verdict = gate.audit(lake, "track_vectors", "r", [file], spark=None)
    assert broken(verdict) == expected
    assert verdict.passed == (not expected)


@pytest.mark.spark
def test_sparks_engine_gives_the_same_verdict_on_all_faults_at_once(
    lake, tmp_path, track_vectors, spark, monkeypatch
):
    rows = pa.concat_tables([track_vectors("b1"), track_vectors("b2")])
    rows = with_number(rows, float("nan"))
    for row, values in enumerate(
        [
            {"item_id": None},
            {"item_id": "t5"},
            {},
            {"vector": None},
            {"vector": [1.0] + [0.0] * 78},
            {"source": "hearsay"},
            {"support": -1},
            {"vector": [2.0] + [0.0] * 79},
        ]
    ):
        rows = replaced(rows, row, **values)
    file = staged(tmp_path, rows)
    in_memory = gate.audit(lake, "track_vectors", "r", [file], spark)
    monkeypatch.setattr(gate, "ROWS_IN_MEMORY", 0)
    by_spark = gate.audit(lake, "track_vectors", "r", [file], spark)
    counts = [
        {check.expectation: check.unexpected_count for check in verdict.checks}
        for verdict in (by_spark, in_memory)
    ]
    assert counts[0] == counts[1]
    assert broken(by_spark) == broken(in_memory)
    assert len(broken(by_spark)) == 8


def test_files_that_do_not_fit_into_memory_at_once_are_checked_one_after_the_other(
    lake, tmp_path, track_vectors, monkeypatch
):
    rows = with_number(replaced(track_vectors(), 4, vector=None), float("nan"))
    rows = replaced(rows, 5, source="hearsay")
    parts = []
    for number, start in enumerate(range(0, len(rows), 2)):
        (tmp_path / f"{number}").mkdir()
        parts.append(staged(tmp_path / f"{number}", rows.slice(start, 2)))
    whole = gate.audit(lake, "track_vectors", "r", parts, spark=None)
    monkeypatch.setattr(gate, "ROWS_IN_MEMORY", 3)
    by_parts = gate.audit(lake, "track_vectors", "r", parts, spark=None)
    told = [
        [(c.check, c.success, c.observed, c.unexpected_count, sorted(c.worst)) for c in v.checks]
        for v in (whole, by_parts)
    ]
    assert told[0] == told[1]
    assert len(broken(by_parts)) > 1


def test_parts_may_be_checked_elsewhere(lake, tmp_path, track_vectors, monkeypatch):
    rows = with_number(track_vectors(), float("nan"))
    parts = []
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        parts.append(staged(tmp_path / f"{number}", rows.slice(2 * number, 2)))
    whole = gate.audit(lake, "track_vectors", "r", parts, spark=None)
    given = []

    def elsewhere(work, parts):
        given.extend(parts)
        sent = (pickle.loads(pickle.dumps((work, part))) for part in parts)  # noqa: S301 - as Ray
        return [work(part) for work, part in sent]

    monkeypatch.setattr(gate, "ROWS_IN_MEMORY", 3)
    monkeypatch.setattr(gate, "ROWS_AT_ONCE", 2)
    spread = gate.audit(lake, "track_vectors", "r", parts, spark=None, spread=elsewhere)
    assert len(given) == 3
    assert spread == whole


@pytest.mark.spark
def test_both_engines_see_the_same_scalars(spark, tmp_path, track_vectors):
    rows = with_number(replaced(track_vectors(), 4, vector=None), float("nan"))
    rows = replaced(replaced(rows, 3, vector=[1.0, None]), 5, vector=[float("inf")])
    frame = spark.read.parquet(staged(tmp_path, rows))
    by_spark = gate.spark_scalars(frame, "track_vectors").toPandas()
    by_pandas = gate.pandas_scalars(rows.to_batches(), rows.schema, "track_vectors")
    assert list(by_spark) == list(by_pandas)
    for column in by_pandas:
        theirs, ours = by_spark[column], by_pandas[column]
        assert theirs.isna().tolist() == ours.isna().tolist()
        assert theirs.dropna().tolist() == pytest.approx(ours.dropna().tolist())


def test_a_null_that_is_allowed_breaks_nothing(lake, tmp_path):
    rows = pa.Table.from_pylist(
        [{"item_id": "t0", "kind": "track"}], schema=contract("items").arrow_schema
    )
    assert gate.audit(lake, "items", "r", [staged(tmp_path, rows)], spark=None).passed


def test_ranges_and_lengths_of_text_are_checked(lake, tmp_path):
    good = {
        "event_id": "e",
        "user_id": "u",
        "item_id": "t",
        "item_kind": "track",
        "played_at": NOON,
        "ingested_at": NOON,
    }
    rows = [good, good | {"event_id": "", "ms_played": -1}, good | {"event_id": "e"}]
    file = staged(tmp_path, pa.Table.from_pylist(rows, schema=contract("listens").arrow_schema))
    assert broken(gate.audit(lake, "listens", "r", [file], spark=None)) == {
        "event_id length must be at least 1",
        "ms_played value must be between 0 and 86400000",
        "event_id is a primary key and must contain unique values",
    }


def test_rows_of_several_files_are_one_table(lake, tmp_path, track_vectors):
    files = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for file in files:
        pq.write_table(track_vectors(), file)
    verdict = gate.audit(lake, "track_vectors", "r", [str(file) for file in files], spark=None)
    assert verdict.rows == 12
    assert broken(verdict) == {"batch_id and item_id together occur once"}


def test_files_with_other_columns_than_the_contract_are_refused_at_once(lake, tmp_path):
    rows = pa.table({"batch_id": ["b"], "mood": ["good"]})
    with pytest.raises(ContractError, match=r"item_id is missing.*mood is not in the contract"):
        gate.audit(lake, "track_vectors", "r", [staged(tmp_path, rows)], spark=None)


def test_a_failed_verdict_names_what_broke_how_often_and_an_example(lake, tmp_path, track_vectors):
    rows = replaced(replaced(track_vectors(), 3, source="hearsay"), 1, item_id="t0")
    verdict = gate.audit(lake, "track_vectors", "r", [staged(tmp_path, rows)], spark=None)
    with pytest.raises(GateError) as error:
        verdict.require("reports/r/index.html")
    said = str(error.value)
    assert said.startswith("track_vectors did not pass its gate, and nothing of it was published")
    assert "1 of 6 rows break it, for example t3 (hearsay) [source.allowed]" in said
    assert "batch_id and item_id together occur once: 2 of 6 rows break it" in said
    assert "The whole report: reports/r/index.html" in said


def test_every_check_is_written_down_whether_it_held_or_not(lake, tmp_path, track_vectors):
    rows = replaced(track_vectors(), 3, source="hearsay")
    verdict = gate.audit(lake, "track_vectors", "r", [staged(tmp_path, rows)], spark=None)
    kept = lake.open("validations").to_pyarrow_table()
    assert kept.num_rows == len(verdict.checks) > 8
    assert set(kept.column("run_id").to_pylist()) == {"r"}
    failed = kept.filter(pc.invert(kept.column("success"))).to_pylist()
    assert [(row["column"], row["examples"]) for row in failed] == [("source", ["hearsay"])]


def test_norms_are_those_of_the_matrix():
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    norms = gate._norms(list_column(values))
    assert norms == pytest.approx(np.linalg.norm(matrix(list_column(values)), axis=1))


def test_norms_are_right_beside_null_and_empty_lists():
    column = pa.array([[3.0, 4.0], None, [], [1.0]], pa.list_(pa.float32()))
    assert gate._norms(column).tolist() == [5.0, 0.0, 0.0, 1.0]
    assert gate._norms(column.slice(1)).tolist() == [0.0, 0.0, 1.0]
