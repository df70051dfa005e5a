import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from lakehouse.arrow import arrow_filesystem, delta_dataset

ROWS = pa.table({"kind": ["a", "a", "b"], "value": [1, 2, 3]})


@pytest.fixture(params=["plain", "with a blank", "50%"])
def table(tmp_path, request):
    uri = str(tmp_path / request.param)
    write_deltalake(uri, ROWS, partition_by=["kind"])
    return DeltaTable(uri)


def test_a_table_has_all_of_its_rows(table):
    assert delta_dataset(table).to_table().sort_by("value") == ROWS


def test_partitions_are_chosen_by_name(table):
    found = delta_dataset(table, [("kind", "=", "a")])
    assert len(found.files) == 1
    assert found.to_table()["value"].to_pylist() == [1, 2]


def test_no_thread_of_arrow_needs_python_for_local_files(table):
    read = delta_dataset(table).filesystem
    assert isinstance(read, fs.SubTreeFileSystem)
    assert isinstance(read.base_fs, fs.LocalFileSystem)
    assert isinstance(arrow_filesystem(LocalFileSystem()), fs.LocalFileSystem)


def test_other_filesystems_are_asked_through_fsspec():
    elsewhere = MemoryFileSystem()
    elsewhere.pipe_file("/some", b"bytes")
    with arrow_filesystem(elsewhere).open_input_file("/some") as file:
        assert file.read() == b"bytes"
