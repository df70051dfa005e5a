import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lakehouse.steps import finished_steps
from ray_apps import batch_embed
from ray_apps.batch_embed import BatchEmbed, complete, main
from ray_apps.bucket_plan import Bucket, BucketPlan
from ray_apps.embed_bucket import EmbedBucket
from schemas.arrow import matrix
from tasteprint.engines import flags

TABLE = "user_embeddings"


@pytest.fixture
def ready(new_world):
    """The batch with a model that training has left."""
    found = new_world(by_bucket=True)
    found.has_a_model()
    return found


def plan(world) -> BucketPlan:
    return BucketPlan(world.lake, world.batch, "float32")


def place(world, bucket: int) -> Path:
    return Path(world.lake.table_uri(TABLE)) / plan(world).file(bucket)


def expected(world) -> np.ndarray:
    found = world.embeddings()
    return np.stack([found[user] for user in sorted(found)])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_everyone_is_embedded_once_and_buckets_that_are_there_are_left_alone(
    ready, monkeypatch, capsys
):
    EmbedBucket(ready.lake.uri, ready.batch_id)({"bucket": 3, "size": 0})
    written = place(ready, 3).stat().st_mtime_ns
    main([*ready.argv, "--dry-run"])
    assert "3 buckets of 45 users to embed, 1 done before" in capsys.readouterr().out
    main(ready.argv)
    assert place(ready, 3).stat().st_mtime_ns == written
    assert "3 of 3 buckets, 45 of 45 users" in capsys.readouterr().out

    rows = ready.lake.read(TABLE, ready.batch).sort_by("user_id")
    assert rows["user_id"].to_pylist() == ready.users
    assert_allclose(matrix(rows["embedding"]), expected(ready), atol=1e-5)
    assert Counter(rows["status"].to_pylist()) == {"established": 59, "cold_start": 1}
    assert set(rows["batch_id"].to_pylist()) == {ready.batch_id}
    assert ready.batch.gates[TABLE] == "warned"  # three users stand in each place
    detail = finished_steps(ready.lake, ready.batch_id)["embed"]["detail"]
    assert detail.pop("core_seconds") > 0
    assert detail == {
        "buckets": 4,
        "buckets_done_before": 1,
        "carried": 0,
        "retries": 0,
        "aside": {},
    }

    # A second time there is nothing to embed, and nothing to commit.
    version = ready.lake.open(TABLE).version()
    monkeypatch.setattr(batch_embed, "embed_buckets", None)
    main(ready.argv)
    assert ready.lake.open(TABLE).version() == version
    assert ready.lake.read(TABLE, ready.batch).num_rows == len(ready.users)
    log = Path(ready.lake.table_uri(TABLE)) / "_delta_log"
    commits = [file.read_text().splitlines() for file in sorted(log.glob("*.json"))]
    assert sum(any("add" in json.loads(line) for line in lines) for lines in commits) == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_poisoned_bucket_is_set_aside_and_the_gate_decides(ready, capsys):
    ready.features[[1, 5], 3] = np.nan  # two users of bucket 1
    ready.registry.record(ready.batch_id, tables={"user_features": ready.write_features()})
    with pytest.raises(SystemExit) as ended:
        main(ready.argv)
    assert ended.value.code == 3
    told = capsys.readouterr()
    assert "bucket 1 is set aside: ValueError: 2 of 15 rows gave vectors that are not" in told.out
    assert "15 of 60 users are in buckets that were set aside: 1" in told.err
    assert "bucket 1: ValueError: 2 of 15 rows" in told.err
    assert not ready.lake.exists(TABLE) or not ready.lake.open(TABLE).file_uris()
    assert sorted(plan(ready).records()) == [0, 2, 3]  # the rest is done


def test_few_users_without_a_vector_are_a_warning_and_more_stop_the_table():
    buckets = [Bucket(number, 1000, 0) for number in range(2000)]
    assert complete(buckets, {}).success
    few = complete(buckets, {7: "OSError: gone"})
    assert (few.success, few.level, few.unexpected_count) == (False, "warn", 1000)
    many = complete(buckets, dict.fromkeys(range(3), "OSError: gone"))
    assert many.stops
    assert many.worst[0] == "bucket 0: OSError: gone"


def test_the_recipe_gives_the_same_vectors_again():
    where = ["--lakehouse", "l", "--batch-id", "b"]
    args = BatchEmbed.parse([*where, "--precision", "bfloat16", "--actors", "3", "--full"])
    again = BatchEmbed.parse([*where, *flags(args.recipe())])
    assert again.recipe() == args.recipe()
    assert (again.precision, again.actors, again.full) == ("bfloat16", 3, False)
    older = {"actors": 2, "cpus_per_actor": 0.5}
    assert BatchEmbed.parse([*where, *flags(older)]).cpus_per_actor == 0.5


def test_a_batch_without_a_model_is_told_what_to_run(world, capsys):
    bare = world.registry.open(world.batch.as_of, {}, "s", "v")
    with pytest.raises(SystemExit) as ended:
        main(["--lakehouse", world.lake.uri, "--batch-id", bare.batch_id])
    assert ended.value.code == 4
    assert "run ray_apps/train_user_model.py" in capsys.readouterr().err
