from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.storage import TABLE_PROPERTIES, Lakehouse
from schemas.contract import contract, contract_names
from schemas.errors import BatchError, ContractError, InputError


def step_rows(*rows):
    return pa.Table.from_pylist(
        [
            {"run_id": run, "step": "brew", "finished_at": 0, "seconds": 1.0, "rows_in": 1}
            | {"rows_out": 1, "detail": "{}"}
            for run in rows
        ],
        schema=contract("steps").arrow_schema,
    )


def runs(lake):
    return sorted(lake.open("steps").to_pyarrow_table().column("run_id").to_pylist())


def test_everything_lies_under_one_folder(tmp_path):
    lake = Lakehouse(f"{tmp_path}/")
    assert lake.uri == str(tmp_path)
    assert lake.table_uri("listens") == f"{tmp_path}/tables/listens"
    assert lake.staging_uri("r", "items") == f"{tmp_path}/staging/r/items"
    assert lake.model_uri("b") == f"{tmp_path}/models/b"
    assert lake.report_uri("r") == f"{tmp_path}/reports/r/index.html"


def test_a_relative_folder_is_the_same_wherever_the_process_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Lakehouse("here").uri == f"{tmp_path}/here"
    assert Lakehouse(f"file://{tmp_path}/here").uri == f"{tmp_path}/here"


def test_a_path_is_as_good_as_its_text(tmp_path):
    assert Lakehouse(tmp_path).uri == Lakehouse(str(tmp_path)).uri == str(tmp_path)


def test_a_table_without_a_contract_has_no_place(lake):
    with pytest.raises(ContractError, match="no contract for 'listns'"):
        lake.table_uri("listns")


def test_a_writable_lakehouse_is_made_and_left_empty(lake, tmp_path):
    lake.check_writable()
    assert list((tmp_path / "lake").iterdir()) == []


def test_a_lakehouse_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\).*--lakehouse"):
        Lakehouse(str(tmp_path / "file" / "lake")).check_writable()


def test_a_lakehouse_where_the_kernel_lets_nobody_write_is_told():
    with pytest.raises(InputError, match="the lakehouse /proc/lake cannot be written"):
        Lakehouse("/proc/lake").check_writable()


def test_a_file_is_there_as_a_whole_or_not_at_all(lake, tmp_path):
    place = tmp_path / "deep" / "file"

    def break_off():
        with lake.whole_file(str(place)) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert list(place.parent.iterdir()) == []
    with lake.whole_file(str(place)) as file:
        file.write(b"whole")
        assert not place.exists()
    assert place.read_bytes() == b"whole"


def test_two_processes_that_write_one_file_do_not_mix(lake, tmp_path):
    place = str(tmp_path / "file")
    with lake.whole_file(place) as first:
        first.write(b"one ")
        with lake.whole_file(place) as second:
            second.write(b"another")
        first.write(b"whole")
    assert Path(place).read_bytes() == b"one whole"


def test_a_small_file_is_replaced_whole(lake, tmp_path):
    place = f"{lake.uri}/reports/r/index.html"
    lake.write_text(place, "one")
    lake.write_text(place, "two")
    folder = tmp_path / "lake" / "reports" / "r"
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("index.html", "two")]


@pytest.mark.parametrize("table", contract_names())
def test_every_table_is_made_from_its_contract_once(lake, table):
    assert not lake.exists(table)
    lake.ensure(table)
    again = lake.ensure(table)
    assert lake.exists(table)
    assert again.version() == 0
    assert lake.open(table).to_pyarrow_table().num_rows == 0
    assert again.metadata().configuration["delta.enableDeletionVectors"] == "false"
    assert again.protocol().min_reader_version == 1


@pytest.mark.parametrize(
    ("table", "partitions"),
    [("user_embeddings", ["batch_id"]), ("batches", []), ("listens", [])],
)
def test_only_tables_of_many_batches_are_cut_by_batch(lake, table, partitions):
    assert lake.ensure(table).metadata().partition_columns == partitions


def test_a_table_made_before_pins_were_kept_is_kept_from_now_on(lake):
    schema = contract("steps").arrow_schema
    DeltaTable.create(
        lake.table_uri("steps"), schema=schema, configuration={"delta.appendOnly": "false"}
    )
    found = lake.ensure("steps").metadata().configuration
    assert found.items() >= {**TABLE_PROPERTIES, "delta.appendOnly": "false"}.items()
    version = lake.ensure("steps").version()
    assert lake.ensure("steps").version() == version


def test_a_table_that_is_not_there_is_named(lake):
    with pytest.raises(InputError, match="has no table listens"):
        lake.open("listens")


def test_a_table_that_does_not_fit_its_contract_is_not_opened(lake):
    write_deltalake(lake.table_uri("steps"), pa.table({"run_id": ["r"], "mood": ["good"]}))
    with pytest.raises(ContractError, match=r"step is missing.*detail is missing"):
        lake.open("steps")


def test_an_append_under_a_name_counts_once(lake):
    for _ in range(2):
        lake.append("steps", step_rows("a", "b"), transaction="first")
    lake.append("steps", step_rows("c"), transaction="second")
    assert runs(lake) == ["a", "b", "c"]


def test_an_append_without_a_name_counts_each_time(lake):
    for _ in range(2):
        lake.append("steps", step_rows("a"))
    assert runs(lake) == ["a", "a"]


def test_a_batch_reads_its_inputs_at_the_version_it_pinned(lake, batches, batch):
    lake.append("steps", step_rows("a"))
    pinned = batches.open(batch.as_of, {"steps": lake.open("steps").version()}, "s", "v")
    lake.append("steps", step_rows("b"))
    assert lake.read("steps", pinned, columns=["run_id"]).to_pydict() == {"run_id": ["a"]}


def test_a_batch_that_knows_nothing_of_a_table_says_what_it_has(lake, batch):
    with pytest.raises(BatchError, match=r"has no track_vectors: it has items, listens"):
        lake.read("track_vectors", batch)
    with pytest.raises(BatchError, match="has not published track_vectors"):
        lake.files("track_vectors", batch)


def test_the_plain_files_of_a_batch_are_those_of_the_version_it_pinned(lake, batches, batch):
    lake.append("steps", step_rows("a"))
    pinned = batches.open(batch.as_of, {"steps": lake.open("steps").version()}, "s", "v")
    lake.append("steps", step_rows("b"))
    ((file, size),) = lake.plain_files("steps", pinned).items()
    assert pq.read_table(file)["run_id"].to_pylist() == ["a"]
    assert size == Path(file).stat().st_size


@pytest.mark.parametrize(
    ("kept_apart", "said"),
    [
        ({"configuration": {"delta.enableDeletionVectors": "true"}}, "feature deletionVectors"),
        ({"configuration": {"delta.columnMapping.mode": "name"}}, "columns mapped by name"),
        ({"partition_by": ["step"]}, "partitions by step"),
    ],
)
def test_files_that_do_not_say_all_are_not_plain(lake, batches, batch, kept_apart, said):
    schema = contract("steps").arrow_schema
    DeltaTable.create(lake.table_uri("steps"), schema=schema, **kept_apart)
    pinned = batches.open(batch.as_of, {"steps": 0}, "s", "v")
    with pytest.raises(InputError, match=f"tables/steps.* has .*{said}.* write it again"):
        lake.plain_files("steps", pinned)
