from datetime import UTC, datetime

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from jobs.parts import LARGEST, PARTS_PER_CORE, SMALLEST, Part, cut, tables
from schemas.contract import contract

T0 = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = {"user_id": True, "event_id": False, "played_at": False, "ms_played": False}
COLUMNS |= {"surface": True}
LOCAL = fsspec.filesystem("file")
SIZES = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(0, 4 * LARGEST))


def listens(count: int, **others) -> pa.Table:
    columns = {
        "user_id": pa.array([f"u{number % 3}" for number in range(count)]),
        "event_id": pa.array([f"e{number}" for number in range(count)]),
        "played_at": pa.array([T0] * count, pa.timestamp("us", "UTC")),
        "ms_played": pa.array(range(count), pa.int64()),
        "surface": pa.array(["home", None] * (count // 2), pa.string()),
    }
    return pa.table(columns | others)


def read(parts: list[Part], rows: int = 1_000) -> list[pa.Table]:
    return list(tables(LOCAL, parts, "listens", COLUMNS, rows))


@given(SIZES, st.integers(1, 8))
def test_every_share_of_every_file_is_in_one_task(sizes, cores):
    tasks = cut(sizes, cores)
    dealt = sorted(part for task in tasks for part in task)
    of = {part.file: part.of for part in dealt}
    assert dealt == sorted(Part(file, n, of[file]) for file in sizes for n in range(of[file]))
    assert all(tasks)


def test_small_files_are_read_together_and_large_ones_in_shares():
    cores = 2
    small = cut(dict.fromkeys("abcd", SMALLEST // 4), cores)
    assert [len(task) for task in small] == [4]
    large = cut({"a": 10 * LARGEST * PARTS_PER_CORE * cores}, cores)
    assert {len(task) for task in large} == {1}
    assert len(large) == 10 * PARTS_PER_CORE * cores


@given(st.integers(1, 12), st.integers(1, 6))
def test_every_row_group_lies_in_one_share_of_its_file(groups, shares):
    place = "memory://groups.parquet"
    with fsspec.open(place, "wb") as file:
        pq.write_table(listens(2 * groups), file, row_group_size=2)
    memory = fsspec.filesystem("memory")
    found = [
        name
        for number in range(shares)
        for table in tables(
            memory, [Part("/groups.parquet", number, shares)], "listens", COLUMNS, 9
        )
        for name in table["event_id"].to_pylist()
    ]
    assert found == [f"e{number}" for number in range(2 * groups)]


def test_rows_come_in_tables_of_about_so_many(tmp_path):
    for name in "ab":
        pq.write_table(listens(10), tmp_path / name, row_group_size=4)
    found = read([Part(str(tmp_path / name), 0, 1) for name in "ab"], rows=8)
    assert sum(map(len, found)) == 20
    assert all(8 <= len(table) < 16 for table in found[:-1])


def test_an_older_file_is_read_in_the_types_of_the_contract_with_nulls_for_what_it_lacks(tmp_path):
    older = listens(4, ms_played=pa.array(range(4), pa.int32())).drop_columns("surface")
    views = listens(4, user_id=pa.array(["u0", "u1", "u2", "u0"], pa.large_string()))
    strange = listens(4, mood=pa.array(["good"] * 4))
    for name, rows in (("older", older), ("views", views), ("strange", strange)):
        pq.write_table(rows, tmp_path / name)
        (found,) = read([Part(str(tmp_path / name), 0, 1)])
        assert found.column_names == list(COLUMNS)
        for column, in_words in COLUMNS.items():
            agreed = contract("listens").arrow_schema.field(column).type
            kind = found.schema.field(column).type
            assert kind == (pa.dictionary(pa.int32(), agreed) if in_words else agreed)
        assert found["user_id"].to_pylist() == ["u0", "u1", "u2", "u0"]
    (found,) = read([Part(str(tmp_path / "older"), 0, 1)])
    assert found["surface"].null_count == 4


def test_times_as_older_sparks_wrote_them_are_the_same_times(tmp_path):
    pq.write_table(listens(2), tmp_path / "a", use_deprecated_int96_timestamps=True)
    (found,) = read([Part(str(tmp_path / "a"), 0, 1)])
    assert found["played_at"].to_pylist() == [T0, T0]
