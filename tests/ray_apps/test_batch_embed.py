import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.testing import assert_allclose

from lakehouse.steps import finished_steps
from models.checkpoint import save_model
from models.predictor import UserPredictor
from models.user_model import UserModel, UserModelConfig
from ray_apps import batch_embed
from ray_apps.batch_embed import EmbedBucket, bucket_file, main
from schemas.arrow import matrix

TABLE = "user_embeddings"


@pytest.fixture(scope="module")
def ready(world):
    """The batch with a model that training has left somewhere."""
    torch.manual_seed(3)
    model = UserModel(UserModelConfig(layout=world.layout))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    uri = world.lake.model_uri(world.batch_id)
    digest = save_model(model, uri)
    world.registry.record(world.batch_id, model_uri=uri, model_sha256=digest)
    return world


def place(world, bucket: int) -> Path:
    return Path(world.lake.table_uri(TABLE)) / bucket_file(world.batch, bucket)


def expected(world) -> np.ndarray:
    predictor = UserPredictor(world.batch.model_uri, world.layout)
    return predictor.embed(world.features, world.present)


def test_a_bucket_is_one_whole_file_and_the_same_however_often_it_is_made(ready):
    actor = EmbedBucket(ready.lake.uri, ready.batch_id)
    assert actor({"bucket": 1}) == {"bucket": 1, "rows": 15}
    first = place(ready, 1).read_bytes()
    assert actor({"bucket": 1}) == {"bucket": 1, "rows": 15}
    assert place(ready, 1).read_bytes() == first
    assert [file.name for file in place(ready, 1).parent.iterdir()] == [place(ready, 1).name]
    place(ready, 1).unlink()


def test_a_bucket_that_breaks_off_leaves_no_file_that_counts(ready, monkeypatch):
    actor = EmbedBucket(ready.lake.uri, ready.batch_id)

    def break_off(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(actor.predictor, "embed", break_off)
        with pytest.raises(RuntimeError, match="out of memory"):
            actor({"bucket": 2})
    assert not place(ready, 2).exists()
    actor({"bucket": 2})
    assert pq.read_metadata(place(ready, 2)).num_rows == 15
    place(ready, 2).unlink()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_everyone_is_embedded_once_and_buckets_that_are_there_are_left_alone(ready, monkeypatch):
    EmbedBucket(ready.lake.uri, ready.batch_id)({"bucket": 3})
    written = place(ready, 3).stat().st_mtime_ns
    main(ready.argv)
    assert place(ready, 3).stat().st_mtime_ns == written

    rows = ready.lake.read(TABLE, ready.batch).sort_by("user_id")
    assert rows["user_id"].to_pylist() == ready.users
    assert_allclose(matrix(rows["embedding"]), expected(ready), atol=1e-5)
    assert Counter(rows["status"].to_pylist()) == {"established": 59, "cold_start": 1}
    assert set(rows["batch_id"].to_pylist()) == {ready.batch_id}
    assert ready.batch.gates[TABLE] == "warned"  # three users stand in each place
    detail = finished_steps(ready.lake, ready.batch_id)["embed"]["detail"]
    assert detail == {"buckets": 4, "buckets_done_before": 1}

    # A second time there is nothing to embed, and nothing to commit.
    version = ready.lake.open(TABLE).version()
    monkeypatch.setattr(batch_embed, "embed_buckets", None)
    main(ready.argv)
    assert ready.lake.open(TABLE).version() == version
    assert ready.lake.read(TABLE, ready.batch).num_rows == len(ready.users)
    log = Path(ready.lake.table_uri(TABLE)) / "_delta_log"
    commits = [file.read_text().splitlines() for file in sorted(log.glob("*.json"))]
    assert sum(any("add" in json.loads(line) for line in lines) for lines in commits) == 1


def test_a_batch_without_a_model_is_told_what_to_run(world, capsys):
    bare = world.registry.open(world.batch.as_of, {}, "s", "v")
    with pytest.raises(SystemExit) as ended:
        main(["--lakehouse", world.lake.uri, "--batch-id", bare.batch_id])
    assert ended.value.code == 4
    assert "run ray_apps/train_user_model.py" in capsys.readouterr().err
