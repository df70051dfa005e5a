import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse import vector_files
from lakehouse.side_car import Asked
from lakehouse.storage import BATCH_ID
from lakehouse.vector_files import write_vectors
from schemas.arrow import list_column
from schemas.errors import BatchError


def part(first: int, rows: int, width: int = 4) -> pa.RecordBatch:
    numbers = np.arange(first, first + rows)
    vectors = np.repeat(numbers[:, None], width, axis=1).astype(np.float32)
    ids = pa.array([f"ü{number}" for number in numbers], pa.string())
    return pa.RecordBatch.from_arrays([ids, list_column(vectors)], ["user_id", "embedding"])


@given(st.lists(st.integers(0, 9), max_size=8).filter(any), st.sampled_from(["float32", "float16"]))
def test_row_by_row_ids_and_vectors_of_all_formats_belong_together(sizes, dtype):
    firsts = np.cumsum([0, *sizes])
    parts = [part(first, rows) for first, rows in zip(firsts, sizes, strict=False)]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(vector_files, "ROWS_PER_FILE", 5)
        asked = Asked(formats=("parquet", "npy"), dtype=dtype)
        assert write_vectors(folder, "users", parts, asked, "b") == (sum(sizes), 4)
        vectors = np.load(folder / "users.npy", mmap_mode="r")
        assert vectors.dtype == dtype
        assert (vectors == np.arange(sum(sizes))[:, None]).all()
        ids = pa.ipc.open_file(pa.memory_map(str(folder / "users.arrow"))).read_all()
        assert ids["user_id"].to_pylist() == [f"ü{n}" for n in range(sum(sizes))]
        files = sorted(folder.glob("users-*.parquet"))
        rows = pa.concat_tables([pq.read_table(file) for file in files])
        assert rows["user_id"] == ids["user_id"]
        assert rows["embedding"].to_pylist() == vectors.astype(np.float32).tolist()


def test_a_file_is_no_longer_than_its_bound_and_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "ROWS_PER_FILE", 5)
    parts = [part(first, 3) for first in range(0, 30, 3)]
    write_vectors(tmp_path, "users", parts, Asked(formats=("parquet",)), "b")
    rows = [pq.read_metadata(file).num_rows for file in sorted(tmp_path.iterdir())]
    assert rows == [6, 6, 6, 6, 6]


def test_files_carry_their_batch_and_a_fixed_width(tmp_path):
    write_vectors(tmp_path, "users", [part(0, 3)], Asked(formats=("parquet", "npy")), "b")
    schema = pq.read_schema(tmp_path / "users-00000.parquet")
    assert schema.field("embedding").type == pa.list_(pa.float32(), 4)
    ids = pa.ipc.open_file(tmp_path / "users.arrow")
    assert schema.metadata[BATCH_ID] == ids.schema.metadata[BATCH_ID] == b"b"


def test_only_what_is_asked_for_is_written_and_an_index_needs_the_map(tmp_path):
    for formats, files in (("parquet", {"u-00000.parquet"}), ("faiss", {"u.npy", "u.arrow"})):
        folder = tmp_path / formats
        folder.mkdir()
        write_vectors(folder, "u", [part(0, 3)], Asked(formats=(formats,)), "b")
        assert {path.name for path in folder.iterdir()} == files


@pytest.mark.parametrize(
    ("parts", "said"),
    [([], "batch b has no vectors of users"), ([part(0, 2), part(2, 2, 3)], "differ in length")],
)
def test_nothing_and_vectors_of_two_lengths_are_refused(tmp_path, parts, said):
    with pytest.raises(BatchError, match=said):
        write_vectors(tmp_path, "users", parts, Asked(formats=("npy",)), "b")
