import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse import exporting
from lakehouse.ann import IndexConfig
from lakehouse.exporting import export
from lakehouse.exports import Export
from lakehouse.side_car import Asked, read_side_car
from schemas.arrow import matrix
from schemas.errors import BatchError, InputError

ALL = Asked(formats=("parquet", "npy", "faiss"))
NPY = Asked(formats=("npy",))


@pytest.fixture
def live(two_spaces):
    return two_spaces()[1]


@pytest.fixture
def items(lake, live):
    """The item vectors of the batch, as a model would place them; padded to the users' width."""

    def parts():
        rows = lake.read("track_vectors", live, ["item_id", "vector"])
        places = np.pad(matrix(rows["vector"]), ((0, 0), (0, 48)))
        yield from pa.table({"item_id": rows["item_id"], "embedding": places.tolist()}).to_batches()

    return parts


def shown(folder: str) -> dict:
    return {path.name: path.stat().st_ino for path in Path(folder).iterdir()}


def test_what_is_exported_is_what_the_table_holds(lake, live, items):
    place, side_car, made = export(lake, live, ALL, items)
    assert made
    assert place == f"{lake.uri}/exports/{live.batch_id}/v{live.tables['user_embeddings']}"
    told = lake.read("user_embeddings", live)
    opened = Export.open(place)
    assert opened.users.ids.to_pylist() == told["user_id"].to_pylist()
    assert (opened.users.vectors == matrix(told["embedding"])).all()
    rows = pq.read_table(f"{place}/users-00000.parquet")
    assert rows.column_names == ["user_id", "embedding", "as_of", "status"]
    for name in rows.column_names:
        assert rows[name].to_pylist() == told[name].to_pylist()
    assert opened.items.ids.to_pylist() == lake.read("track_vectors", live)["item_id"].to_pylist()
    assert side_car.users.index.measured.recall == {10: 1.0, 100: 1.0}
    assert side_car.items.index.measured.recall == {10: 1.0, 100: 1.0}


def test_the_side_car_says_what_lies_there(lake, live, items):
    place, _, _ = export(lake, live, ALL, items)
    told = json.loads(Path(place, "export.json").read_text())
    assert told["batch_id"] == live.batch_id
    assert told["version"] == live.tables["user_embeddings"]
    assert told["model_sha256"] == live.model_sha256
    assert told["metric"] == "inner product of unit vectors"
    assert (told["users"]["rows"], told["users"]["size"]) == (240, 128)
    files = [file for side in ("users", "items") for file in told[side]["files"]]
    assert {file["name"] for file in files} | {"export.json"} == set(shown(place))
    assert all(Path(place, file["name"]).stat().st_size == file["size"] for file in files)
    measured = told["users"]["index"]["measured"]
    assert measured["queries"] == 120
    assert measured["exact_queries_per_second"] > 0


def test_a_second_time_nothing_is_made_again_unless_by_force(lake, live):
    place, first, _ = export(lake, live, NPY)
    before = shown(place)
    assert export(lake, live, NPY) == (place, first, False)
    assert shown(place) == before
    *_, made = export(lake, live, NPY, force=True)
    assert made
    assert shown(place)["users.npy"] != before["users.npy"]


def test_another_format_is_made_beside_those_that_are_there(lake, live):
    export(lake, live, Asked(formats=("parquet",)))
    place, side_car, made = export(lake, live, NPY)
    assert made
    assert side_car.asked.formats == ("parquet", "npy")
    assert {"users-00000.parquet", "users.npy", "users.arrow", "export.json"} == set(shown(place))


def test_a_refresh_makes_another_version_and_the_old_one_stays(lake, live):
    old, _, _ = export(lake, live, NPY)
    rows = lake.read("user_embeddings", live)
    lake.open("user_embeddings").delete(f"batch_id = '{live.batch_id}'")
    lake.append("user_embeddings", rows.slice(0, 100))
    version = lake.open("user_embeddings").version()
    refreshed = lake.batches.record(live.batch_id, tables={"user_embeddings": version})
    new, side_car, made = export(lake, refreshed, NPY)
    assert made
    assert new.endswith(f"v{version}")
    assert (side_car.users.rows, len(Export.open(old).users.ids)) == (100, 240)


def test_the_same_rows_under_another_version_are_not_exported_again(lake, live):
    place, _, _ = export(lake, live, NPY)
    lake.append("user_embeddings", lake.read("user_embeddings", "legacy"))
    version = lake.open("user_embeddings").version()
    assert version > live.tables["user_embeddings"]
    same = lake.batches.record(live.batch_id, tables={"user_embeddings": version})
    assert export(lake, same, NPY)[::2] == (place, False)


def test_another_folder_has_the_same_layout(lake, live, tmp_path):
    place, _, _ = export(lake, live, NPY, out=str(tmp_path / "out"))
    assert place == f"{tmp_path}/out/{live.batch_id}/v{live.tables['user_embeddings']}"
    assert not lake.filesystem.exists(f"{lake.uri}/exports")
    assert len(Export.open(place).users.ids) == 240
    assert export(lake, live, NPY, out=str(tmp_path / "out"))[2] is False


def test_an_object_store_gets_every_file_and_the_side_car(lake, live, items):
    place, side_car, _ = export(lake, live, ALL, items, out="memory://exports-of-a-test")
    store = exporting.Lakehouse("memory://exports-of-a-test")
    found = {path.rsplit("/", 1)[-1] for path in store.filesystem.find(place)}
    files = [file.name for side in side_car.sides.values() for file in side.files]
    assert found == {*files, "export.json"}
    assert read_side_car(store, place) == side_car
    assert export(lake, live, ALL, items, out="memory://exports-of-a-test")[2] is False
    with pytest.raises(InputError, match="copy it to a disk first"):
        Export.open(place)


@pytest.mark.parametrize("state", ["building", "failed"])
def test_a_batch_that_may_not_be_read_is_not_exported(lake, live, state):
    other = lake.batches.open(live.as_of, live.parents, "s", "v")
    other = lake.batches.record(other.batch_id, state=state)
    with pytest.raises(BatchError, match=f"is {state}: only one that has passed its gates"):
        export(lake, other, NPY)


def test_a_retired_batch_is_not_exported(lake, two_spaces):
    old, _ = two_spaces()
    with pytest.raises(BatchError, match="is retired"):
        export(lake, lake.batches.retire(old.batch_id), NPY)


def test_rows_that_change_meanwhile_are_not_exported(lake, live, monkeypatch):
    original = exporting.write_vectors
    with monkeypatch.context() as patch:
        patch.setattr(
            exporting, "write_vectors", lambda *args: changed(lake, live, original(*args))
        )
        with pytest.raises(BatchError, match="changed while it was exported"):
            export(lake, live, NPY)
    assert list(Path(lake.uri).glob("exports/*/*")) == []


def changed(lake, batch, result):
    """Take one row out of a batch, and give the result."""
    rows = lake.read("user_embeddings", batch).slice(1)
    lake.open("user_embeddings").delete(f"batch_id = '{batch.batch_id}'")
    lake.append("user_embeddings", rows)
    version = lake.open("user_embeddings").version()
    lake.batches.record(batch.batch_id, tables={"user_embeddings": version})
    return result


def test_while_somebody_is_being_erased_nothing_is_exported(lake, live):
    lake.write_text(f"{lake.uri}/erasing.json", "{}")
    with pytest.raises(BatchError, match="somebody is being erased"):
        export(lake, live, NPY)


def test_two_processes_do_not_write_one_export(lake, live, monkeypatch):
    original = exporting.write_vectors

    def twice(*args):
        with pytest.raises(InputError, match="another process is writing"):
            export(lake, live, NPY)
        return original(*args)

    monkeypatch.setattr(exporting, "write_vectors", twice)
    assert export(lake, live, NPY)[2]


@pytest.mark.parametrize("moment", ["write_vectors", "_indexed", "_publish", "write_text"])
def test_an_export_that_is_killed_is_not_there_and_is_made_by_the_same_command(lake, live, moment):
    script = f"""
import os, sys
from lakehouse import exporting
from lakehouse.side_car import Asked
from lakehouse.storage import Lakehouse
owner = Lakehouse if "{moment}" == "write_text" else exporting
step = owner.{moment}
def killed(*args, **kwargs):
    if "{moment}" not in ("_publish", "write_text"):
        step(*args, **kwargs)
    os._exit(9)
lake = Lakehouse(sys.argv[1])
batch = lake.batches.get("live")
owner.{moment} = killed
exporting.export(lake, batch, Asked(formats=("npy", "faiss")))
"""
    died = subprocess.run([sys.executable, "-c", script, lake.uri], check=False, env={**os.environ})
    assert died.returncode == 9
    assert list(Path(lake.uri).glob("exports/*/*/export.json")) == []
    assert list(Path(lake.uri).glob("exports/*/*/*"))  # something lies about
    place, side_car, made = export(lake, live, Asked(formats=("npy", "faiss")))
    assert made
    assert [path.name for path in Path(place).parent.iterdir()] == [Path(place).name]
    files = {file.name for file in side_car.users.files}
    assert set(shown(place)) == {"export.json", *files}


def test_an_index_that_misses_its_target_is_exported_and_says_so(lake, live):
    coarse = IndexConfig(kind="ivf_pq", nlist=4, m=1, nbits=4, rerank=1)
    _, side_car, _ = export(lake, live, Asked(formats=("faiss",), index=coarse, recall=1.0))
    assert not side_car.users.index.measured.reached
    assert side_car.users.index.measured.recall[10] < 1.0
