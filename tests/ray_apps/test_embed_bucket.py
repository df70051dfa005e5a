from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.testing import assert_allclose

from ray_apps import embed_bucket
from ray_apps.embed_bucket import EmbedBucket
from schemas.arrow import matrix
from schemas.contract import contract

TABLE = "user_embeddings"


@pytest.fixture(scope="module", params=[True, False], ids=["a file each", "in one file"])
def ready(new_world, request):
    found = new_world(by_bucket=request.param)
    found.has_a_model()
    return found


@pytest.fixture
def actor(ready, monkeypatch):
    monkeypatch.setattr(embed_bucket, "PAUSE", 0.0)
    return EmbedBucket(ready.lake.uri, ready.batch_id)


def place(actor: EmbedBucket, bucket: int) -> Path:
    return Path(actor.lake.table_uri(TABLE)) / actor.plan.file(bucket)


def row(bucket: int) -> dict[str, int]:
    return {"bucket": bucket, "size": 1000}


def test_a_bucket_is_one_whole_file_and_the_same_however_often_it_is_made(actor, ready):
    first = actor(row(1))
    assert {name: first[name] for name in ("bucket", "rows", "embedded", "read", "reason")} == {
        "bucket": 1,
        "rows": 15,
        "embedded": 15,
        "read": 1000,
        "reason": "",
    }
    content = place(actor, 1).read_bytes()
    assert first["written"] == len(content)
    actor(row(1))
    assert place(actor, 1).read_bytes() == content
    assert [file.name for file in place(actor, 1).parent.iterdir()] == [place(actor, 1).name]
    assert actor.plan.records()[1].files == (actor.plan.file(1),)

    rows = pq.ParquetFile(place(actor, 1)).read()
    contract(TABLE).check(rows.schema)
    expected = ready.embeddings()
    assert rows["user_id"].to_pylist() == [user for user in ready.users if int(user[1:]) % 4 == 1]
    assert_allclose(
        matrix(rows["embedding"]),
        [expected[user] for user in rows["user_id"].to_pylist()],
        atol=1e-6,
    )


def test_what_breaks_off_leaves_no_file_and_no_record_and_is_tried_again(actor, monkeypatch):
    whole, broken = actor.predictor.embed, iter([RuntimeError("out of memory")])

    def break_off_once(features, present):
        for error in broken:
            raise error
        return whole(features, present)

    actor.speeds = {1: 1.0}  # measured
    monkeypatch.setattr(actor.predictor, "embed", break_off_once)
    with pytest.raises(RuntimeError, match="out of memory"):
        actor.embed(2)
    assert not place(actor, 2).exists()
    assert list(place(actor, 2).parent.glob("*bucket-00002*")) == []
    assert 2 not in actor.plan.records()
    broken = iter([RuntimeError("out of memory")])
    told = actor(row(2))
    assert (told["retries"], told["reason"], told["rows"]) == (1, "", 15)


def poison(actor: EmbedBucket, bucket: int, features) -> None:
    """Give the actor other features for a bucket."""
    (rows,) = actor._features.rows(bucket)
    bad = replace(rows, features=features(rows.features.copy()))
    actor._features.rows = lambda _: iter([bad])


def test_a_vector_that_is_not_finite_sets_its_bucket_aside(actor):
    def with_nan(features):
        features[4, 0] = np.nan
        return features

    poison(actor, 3, with_nan)
    told = actor(row(3))
    assert told["reason"] == "ValueError: 1 of 15 rows gave vectors that are not finite"
    assert (told["rows"], told["read"], told["retries"]) == (0, 0, 1)
    assert not place(actor, 3).exists()
    assert 3 not in actor.plan.records()


def test_a_vector_of_another_length_sets_its_bucket_aside(actor):
    poison(actor, 3, lambda features: features[:, 1:])
    assert "the model reads" in actor(row(3))["reason"]


def test_a_file_that_cannot_be_read_sets_its_bucket_aside(new_world, monkeypatch):
    monkeypatch.setattr(embed_bucket, "PAUSE", 0.0)
    world = new_world(by_bucket=True)
    world.has_a_model()
    actor = EmbedBucket(world.lake.uri, world.batch_id)
    (fragment,) = actor._features._fragments(0)
    file = Path(world.lake.table_uri("user_features")) / fragment.path
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    file.write_bytes(content)
    told = actor(row(0))
    assert told["reason"]
    assert told["rows"] == 0
    assert actor(row(1))["rows"] == 15


def test_how_many_are_embedded_at_once_is_measured_once(actor):
    assert actor.speeds == {}
    actor(row(0))
    speeds = actor.speeds
    assert actor.predictor.rows_at_once in speeds
    actor(row(1))
    assert actor.speeds is speeds


def test_it_computes_on_the_threads_it_is_given_whatever_the_environment_says(ready):
    before = torch.get_num_threads()
    try:
        EmbedBucket(ready.lake.uri, ready.batch_id, threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
