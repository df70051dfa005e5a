import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.files import ROWS_IN_GROUP, table_file, write_file
from schemas.arrow import list_column, matrix
from schemas.contract import contract

TABLE = "user_embeddings"


def rows(count: int, *, holes: bool = False) -> pa.Table:
    vectors = list_column(np.random.default_rng(0).random((count, 128), np.float32))
    if holes:
        values = vectors.values.to_pylist()
        values[3] = None
        vectors = pa.ListArray.from_arrays(vectors.offsets, pa.array(values, pa.float32()))
    columns = {
        "batch_id": ["b"] * count,
        "user_id": [f"u{number:06d}" for number in range(count)],
        "bucket": pa.array([7] * count, pa.int32()),
        "as_of": pa.array([0] * count, pa.timestamp("us", "UTC")),
        "embedding": vectors,
        "source": ["batch"] * count,
        "status": ["established"] * count,
        "fingerprint": pa.array([1] * count, pa.int64()),
    }
    return pa.Table.from_pydict(columns, schema=contract(TABLE).arrow_schema)


def stored(lake, name: str) -> pq.ParquetFile:
    return pq.ParquetFile(f"{lake.table_uri(TABLE)}/{name}")


def test_what_is_written_in_parts_is_read_as_one(lake):
    whole = rows(5000)
    with table_file(lake, TABLE, "some.parquet") as file:
        for start in (0, 1000, 4000):
            file.write(whole.slice(start, {0: 1000, 1000: 3000, 4000: 1000}[start]))
        assert file.rows == 5000
    found = stored(lake, "some.parquet").read()
    contract(TABLE).check(found.schema)
    assert found.cast(whole.schema).equals(whole)


def test_parts_wait_until_a_row_group_is_full(lake):
    with table_file(lake, TABLE, "some.parquet") as file:
        for _ in range(5):
            file.write(rows(ROWS_IN_GROUP // 2))
    footer = stored(lake, "some.parquet").metadata
    groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    assert groups == [ROWS_IN_GROUP, ROWS_IN_GROUP, ROWS_IN_GROUP // 2]


def test_files_are_laid_out_for_readers(lake):
    write_file(lake, TABLE, "some.parquet", rows(2 * ROWS_IN_GROUP + 1))
    footer = stored(lake, "some.parquet").metadata
    assert [footer.row_group(group).num_rows for group in range(3)] == [
        ROWS_IN_GROUP,
        ROWS_IN_GROUP,
        1,
    ]
    columns = [footer.row_group(0).column(place) for place in range(footer.num_columns)]
    by_name = {column.path_in_schema: column for column in columns}
    vector = by_name["embedding.list.element"]
    assert vector.statistics is None
    assert vector.compression == "UNCOMPRESSED"
    assert by_name["user_id"].compression == "LZ4"
    assert "PLAIN_DICTIONARY" not in vector.encodings
    assert "RLE_DICTIONARY" not in vector.encodings
    assert by_name["bucket"].statistics.min == 7
    assert (
        not stored(lake, "some.parquet").schema_arrow.field("embedding").type.value_field.nullable
    )


@pytest.mark.spark
def test_spark_reads_them_as_any_other(lake, spark):
    whole = rows(20)
    write_file(lake, TABLE, "some.parquet", whole)
    found = (
        spark.read.parquet(f"{lake.table_uri(TABLE)}/some.parquet").orderBy("user_id").toPandas()
    )
    assert found["user_id"].tolist() == whole["user_id"].to_pylist()
    assert np.array_equal(np.stack(found["embedding"]), matrix(whole["embedding"]))


def test_a_vector_with_a_hole_is_written_as_it_is(lake):
    write_file(lake, TABLE, "some.parquet", rows(2, holes=True))
    found = stored(lake, "some.parquet").read()["embedding"].to_pylist()
    assert found[0][3] is None
    assert found[1][3] is not None


def test_a_file_of_nobody_has_its_columns(lake):
    write_file(lake, TABLE, "some.parquet", rows(0))
    found = stored(lake, "some.parquet").read()
    assert len(found) == 0
    contract(TABLE).check(found.schema)


def test_what_breaks_off_leaves_nothing(lake, tmp_path):
    def break_off() -> None:
        with table_file(lake, TABLE, "some.parquet") as file:
            file.write(rows(3))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
