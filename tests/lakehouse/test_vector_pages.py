import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse import files
from lakehouse.files import TableFile
from lakehouse.vector_pages import read_vectors, widths
from schemas.arrow import list_column, matrix

TABLE = "user_embeddings"


def rows(count: int, width: int, seed: int = 0) -> pa.Table:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return pa.table({"user_id": [f"u{n}" for n in range(count)], "embedding": list_column(vectors)})


def written(*parts: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    file = TableFile(sink, TABLE)
    for part in parts:
        file.write(part)
    file.close()
    return sink.getvalue()


def by_pages(content: pa.Buffer) -> list[np.ndarray | None]:
    """What each row group gives."""
    source = pa.BufferReader(content)
    footer = pq.ParquetFile(source).metadata
    groups = range(footer.num_row_groups)
    return [read_vectors(source, footer, group, "embedding") for group in groups]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=3), st.integers(1, 200))
def test_pages_hold_what_arrow_reads(counts, width):
    parts = [rows(count, width, seed) for seed, count in enumerate(counts)]
    content = written(*parts)
    read = pq.read_table(pa.BufferReader(content))
    assert widths(pq.ParquetFile(pa.BufferReader(content)).metadata) == {"embedding": width}
    assert np.array_equal(np.concatenate(by_pages(content)), matrix(read["embedding"]))


def test_row_groups_are_pages_of_their_own(monkeypatch):
    monkeypatch.setattr(files, "ROWS_IN_GROUP", 100)
    whole = rows(250, 128)
    found = by_pages(written(whole))
    assert [len(part) for part in found] == [100, 100, 50]
    assert np.array_equal(np.concatenate(found), matrix(whole["embedding"]))


def test_a_whole_row_group_of_features_is_one_page():
    whole = rows(files.ROWS_IN_GROUP, 504)
    (found,) = by_pages(written(whole))
    assert np.array_equal(found, matrix(whole["embedding"]))


def with_hole() -> pa.Table:
    table = rows(3, 4)
    values = table["embedding"].combine_chunks().values.to_pylist()
    values[5] = None
    lists = pa.ListArray.from_arrays(
        pa.array([0, 4, 8, 12], pa.int32()), pa.array(values, pa.float32())
    )
    return table.set_column(1, "embedding", lists)


def listed(*vectors: list[float]) -> pa.Table:
    lists = pa.array(vectors, pa.list_(pa.float32()))
    return pa.table({"user_id": ["a"] * len(vectors), "embedding": lists})


@pytest.mark.parametrize(
    "parts",
    [
        [with_hole()],
        [rows(3, 4), rows(3, 5)],
        [
            rows(3, 4),
            pa.table({"user_id": ["a"], "embedding": pa.array([[1.0]], pa.list_(pa.float32()))}),
        ],
        [
            pa.table(
                {
                    "user_id": ["a", "b"],
                    "embedding": pa.array([[1.0, 2.0], []], pa.list_(pa.float32())),
                }
            )
        ],
    ],
    ids=["a hole", "two widths", "a short one", "uneven"],
)
def test_vectors_that_are_not_alike_are_left_to_arrow(parts):
    content = written(*parts)
    assert set(map(type, by_pages(content))) == {type(None)}
    assert pq.read_table(pa.BufferReader(content)).num_rows == sum(map(len, parts))


@pytest.mark.parametrize(
    "how",
    [{"compression": "snappy"}, {"data_page_size": 512}, {"use_dictionary": True}],
    ids=["compressed", "several pages", "a dictionary"],
)
def test_files_of_others_are_left_to_arrow(how):
    table = rows(600, 32)
    marked = table.replace_schema_metadata()
    sink = pa.BufferOutputStream()
    plain = {"compression": "none", "use_dictionary": False, "write_batch_size": 16, **how}
    with pq.ParquetWriter(sink, marked.schema, **plain) as writer:
        writer.write_table(marked)
        writer.add_key_value_metadata({"tasteprint.widths": '{"embedding": 32}'})
    assert by_pages(sink.getvalue()) == [None]


def test_without_a_word_in_the_footer_nothing_is_taken_for_granted():
    table = rows(10, 4)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    assert by_pages(sink.getvalue()) == [None]
