import shutil
from pathlib import Path

import numpy as np
import pytest

from lakehouse import space
from lakehouse.ann import IndexConfig
from lakehouse.exporting import export
from lakehouse.exports import Export
from lakehouse.side_car import Asked
from schemas.arrow import matrix
from schemas.errors import InputError, MixedBatchesError

INDEXED = Asked(formats=("faiss",))


@pytest.fixture
def pair(lake, two_spaces):
    """An export each of a legacy and a live batch of the same people, and the folders."""
    folders = [export(lake, batch, INDEXED)[0] for batch in two_spaces(noise=0.1)]
    return [(Export.open(folder), folder) for folder in folders]


@pytest.fixture
def live(pair):
    return pair[1][0]


def test_vectors_are_a_memory_map_beside_their_ids(lake, live):
    assert isinstance(live.users.vectors, np.memmap)
    told = lake.read("user_embeddings", "live")
    place = live.users.ids.to_pylist().index("u17")
    row = told["user_id"].to_pylist().index("u17")
    assert (live.users.vectors[place] == matrix(told["embedding"])[row]).all()


def test_the_nearest_users_are_those_of_a_sort(live):
    vectors = np.asarray(live.users.vectors)
    found = live.users.nearest(live.users.table([5, 9]), 4)
    ids = live.users.ids.to_pylist()
    best = np.argsort(-(vectors[[5, 9]] @ vectors.T), axis=1, kind="stable")[:, :4]
    assert [found.ids(query) for query in (0, 1)] == [[ids[row] for row in rows] for rows in best]
    assert found.ids(0)[0] == ids[5]
    assert found.products[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_rows_of_the_lakehouse_and_of_the_export_may_be_compared(lake, live):
    told = lake.read("user_embeddings", "live").slice(0, 3)
    assert live.users.nearest(told, 1).ids(2) == [told["user_id"][2].as_py()]
    assert np.diag(space.similarity(live.users.table([0, 1, 2]), told)).min() > 1 - 1e-6


def test_vectors_of_two_batches_do_not_meet(lake, pair):
    (old, _), (new, _) = pair
    names = f"(?=.*{old.batch_id})(?=.*{new.batch_id})"
    with pytest.raises(MixedBatchesError, match=names):
        new.users.nearest(old.users.table([0]), 1)
    with pytest.raises(MixedBatchesError, match=names):
        new.users.nearest(lake.read("user_embeddings", "legacy").slice(0, 1), 1)
    with pytest.raises(MixedBatchesError, match=names):
        space.similarity(new.users.table([0]), old.users.table([0]))


def test_ids_of_another_batch_are_refused(pair):
    (old, theirs), (new, ours) = pair
    assert old.batch_id != new.batch_id
    shutil.copy(Path(theirs, "users.arrow"), Path(ours, "users.arrow"))
    with pytest.raises(MixedBatchesError, match=old.batch_id):
        _ = Export.open(ours).users


def test_the_export_of_what_a_batch_has_now_is_found(lake, pair):
    for name, (opened, _) in zip(("legacy", "live"), pair, strict=True):
        assert Export.of(lake, name).batch_id == opened.batch_id
    rows = lake.read("user_embeddings", "live")
    lake.open("user_embeddings").delete(f"batch_id = '{lake.batch('live').batch_id}'")
    lake.append("user_embeddings", rows)
    version = lake.open("user_embeddings").version()
    lake.batches.record(lake.batch("live").batch_id, tables={"user_embeddings": version})
    with pytest.raises(InputError, match="has now is not exported"):
        Export.of(lake, "live")


def test_a_folder_without_a_side_car_is_no_export(pair):
    folder = Path(pair[1][1])
    (folder / "export.json").unlink()
    with pytest.raises(InputError, match=r"has no export\.json"):
        Export.open(str(folder))


def test_a_file_that_is_cut_short_or_gone_is_named(pair):
    folder = Path(pair[1][1])
    whole = (folder / "users.npy").read_bytes()
    (folder / "users.npy").write_bytes(whole[:-4])
    with pytest.raises(InputError, match=r"users\.npy is not there as export\.json speaks of it"):
        _ = Export.open(str(folder)).users
    (folder / "users.npy").unlink()
    with pytest.raises(InputError, match=r"users\.npy is not there"):
        _ = Export.open(str(folder)).users


def test_a_file_that_changed_is_found_by_its_hash(pair):
    opened, folder = pair[1]
    opened.check()
    path = Path(folder, "users.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"users\.npy changed since"):
        opened.check()


def test_what_was_not_exported_is_said_to_be_missing(lake, live, tmp_path):
    with pytest.raises(InputError, match="has no items"):
        _ = live.items
    batch = lake.batches.get("live")
    place, *_ = export(lake, batch, Asked(formats=("npy",)), out=str(tmp_path / "npy"))
    with pytest.raises(InputError, match="has no index: `tasteprint export --format faiss`"):
        _ = Export.open(place).users.index
    place, *_ = export(lake, batch, Asked(formats=("parquet",)), out=str(tmp_path / "parquet"))
    with pytest.raises(InputError, match="with `--format npy`"):
        _ = Export.open(place).users


def test_a_map_of_half_precision_is_searched_by_codes(lake, live, tmp_path):
    codes = IndexConfig(kind="ivf_pq", nlist=4, nbits=4, nprobe=4, rerank=16)
    asked = Asked(formats=("faiss",), dtype="float16", index=codes)
    place, *_ = export(lake, lake.batches.get("live"), asked, out=str(tmp_path / "half"))
    users = Export.open(place).users
    assert users.vectors.dtype == np.float16
    assert users.nearest(live.users.table(range(20)), 1).rows[:, 0].tolist() == list(range(20))
