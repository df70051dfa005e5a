import pickle
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lakehouse.parts import Part, each_part, part_with


@pytest.fixture
def dataset(tmp_path):
    """Files of 3, 1, 4, 1 and 5 rows, cut by a column that only their folders tell."""
    first = 0
    for number, count in enumerate([3, 1, 4, 1, 5]):
        folder = tmp_path / f"cut={number % 2}"
        folder.mkdir(exist_ok=True)
        rows = pa.table({"number": range(first, first + count)})
        pq.write_table(rows, folder / f"{number}.parquet")
        first += count
    return ds.dataset(
        tmp_path, partitioning=ds.partitioning(pa.schema({"cut": pa.int32()}), flavor="hive")
    )


def numbers(rows):
    return rows.to_table(columns=["number"])["number"].to_pylist()


@pytest.mark.parametrize("most", [1, 4, 5, 100])
def test_every_row_is_in_one_part_and_few_files_are_together(dataset, most):
    found = list(each_part(numbers, dataset, most, None))
    assert sorted(chain(*found)) == list(range(14))
    assert all(len(part) <= max(most, 5) for part in found)
    assert len(found) == {1: 5, 4: 4, 5: 4, 100: 1}[most]


def test_a_part_may_be_looked_at_elsewhere(dataset):
    def elsewhere(work, parts):
        sent = (pickle.loads(pickle.dumps((work, part))) for part in parts)  # noqa: S301 - as Ray
        return [work(part) for work, part in sent]

    here = list(each_part(numbers, dataset, 4, None))
    assert list(each_part(numbers, dataset, 4, elsewhere)) == here


def test_what_folders_say_is_known_of_a_part(dataset):
    def cuts(rows):
        return rows.to_table(columns=["cut", "number"]).to_pylist()

    found = list(chain(*each_part(cuts, dataset, 1, None)))
    expected = dataset.to_table(columns=["cut", "number"]).to_pylist()
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert {row["cut"] for row in found} == {0, 1}


def test_files_that_may_have_some_rows_are_a_part(dataset):
    part = part_with(dataset, pc.field("cut") == 1)
    assert sorted(numbers(part.dataset())) == [3, 8]
    assert numbers(part_with(dataset, pc.field("cut") == 2).dataset()) == []


def test_no_footer_is_kept_by_the_table(dataset, tmp_path):
    read = [one.metadata.num_rows for one in part_with(dataset, pc.field("cut") == 1).fragments]
    assert read == [1, 1]
    for place in tmp_path.rglob("*.parquet"):
        place.unlink()
    for one in dataset.get_fragments():
        with pytest.raises(FileNotFoundError):
            one.ensure_complete_metadata()


def test_a_part_without_files_has_no_rows():
    assert numbers(Part(pa.schema({"number": pa.int64()}), []).dataset()) == []
