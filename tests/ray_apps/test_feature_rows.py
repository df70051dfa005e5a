from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.files import write_file
from ray_apps import feature_rows
from ray_apps.feature_rows import FeatureBuckets
from schemas.arrow import matrix
from schemas.contract import contract

TABLE = "user_features"


def buckets(world) -> FeatureBuckets:
    return FeatureBuckets(world.lake.dataset(TABLE, world.batch), one_to_a_file=world.by_bucket)


def laid_out(world) -> None:
    """Write the files of a batch again, as the job does."""
    root = Path(world.lake.table_uri(TABLE))
    for uri in world.lake.files(TABLE, world.batch):
        rows = pq.ParquetFile(uri).read()
        whole = rows.append_column("batch_id", pa.array([world.batch_id] * len(rows)))
        schema = contract(TABLE).arrow_schema
        write_file(world.lake, TABLE, str(Path(uri).relative_to(root)), whole.select(schema.names))


@pytest.fixture(scope="module", params=["as anybody", "as the job", "in one file"])
def world(new_world, request):
    """A batch whose features were written in some way."""
    found = new_world(by_bucket=request.param != "in one file")
    if request.param == "as the job":
        laid_out(found)
    return found


def test_a_bucket_has_its_users_with_their_rows(world):
    for bucket in range(4):
        (part,) = buckets(world).rows(bucket)
        own = [place for place in range(60) if place % 4 == bucket]
        assert part.who["user_id"].to_pylist() == [world.users[place] for place in own]
        assert np.array_equal(part.features, world.features[own])
        assert np.array_equal(part.present, world.present[own])
        (who,) = buckets(world).who(bucket)
        assert who.equals(part.who)


def test_files_of_the_job_are_read_by_their_pages(new_world, monkeypatch):
    world = new_world(by_bucket=True)
    laid_out(world)
    monkeypatch.setattr(feature_rows, "matrix", None)  # which Arrow's lists would need
    (part,) = buckets(world).rows(2)
    assert np.array_equal(part.features, world.features[2::4])


def test_a_file_that_lacks_a_column_is_read_with_nulls(new_world):
    world = new_world(by_bucket=True)
    (uri,) = [uri for uri in world.lake.files(TABLE, world.batch) if _bucket(uri) == 1]
    rows = pq.ParquetFile(uri).read()
    pq.write_table(rows.drop_columns(["fingerprint"]), uri)
    (part,) = buckets(world).rows(1)
    assert part.who["fingerprint"].null_count == 15
    assert np.array_equal(part.features, world.features[1::4])


def test_rows_of_several_lengths_are_an_error(new_world):
    world = new_world(by_bucket=True)
    (uri,) = [uri for uri in world.lake.files(TABLE, world.batch) if _bucket(uri) == 1]
    rows = pq.ParquetFile(uri).read()
    lists = matrix(rows["features"]).tolist()
    lists[3] = lists[3][:-1]
    place = rows.schema.get_field_index("features")
    uneven = pa.array(lists, pa.list_(pa.float32()))
    pq.write_table(rows.set_column(place, "features", uneven), uri)
    with pytest.raises(ValueError, match="not every row holds a vector of the same length"):
        list(buckets(world).rows(1))


def _bucket(uri: str) -> int:
    return pq.ParquetFile(uri).read(columns=["bucket"])["bucket"][0].as_py()
