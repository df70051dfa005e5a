"""The way of Ray over a lakehouse in an S3 store: train, embed, read."""

import pytest
from numpy.testing import assert_allclose

from lakehouse.steps import finished_steps
from models.predictor import UserPredictor
from ray_apps import batch_embed, train_user_model
from ray_apps.tables import read
from schemas.arrow import matrix

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def embedded(remote_world, ray_cluster):  # noqa: ARG001 - on which both run
    """The batch after its training and its embedding."""
    train_user_model.main([*remote_world.argv, "--training.epochs", "2"])
    batch_embed.main(remote_world.argv)
    return remote_world


def test_every_user_has_the_vector_that_the_kept_model_gives(embedded):
    rows = embedded.lake.read("user_embeddings", embedded.batch_id).sort_by("user_id")
    predictor = UserPredictor(embedded.batch.model_uri, embedded.layout)
    expected = predictor.embed(embedded.features, embedded.present)
    assert rows["user_id"].to_pylist() == embedded.users
    assert_allclose(matrix(rows["embedding"]), expected, atol=1e-5)
    assert {"train", "embed"} <= set(finished_steps(embedded.lake, embedded.batch_id))


def test_ray_reads_a_batch_by_its_files(embedded):
    rows = read(embedded.lake, "user_embeddings", embedded.batch_id, ["user_id"]).take_all()
    assert sorted(row["user_id"] for row in rows) == embedded.users
    assert {row["batch_id"] for row in rows} == {embedded.batch_id}


def test_checkpoints_are_gone_when_the_model_is_kept(embedded):
    assert embedded.batch.model_uri == embedded.lake.model_uri(embedded.batch_id)
    assert not embedded.lake.filesystem.find(f"{embedded.lake.uri}/checkpoints")


def test_what_was_embedded_before_is_not_embedded_again(embedded, capsys):
    version = embedded.lake.open("user_embeddings").version()
    batch_embed.main(embedded.argv)
    assert "embed: bucket" not in capsys.readouterr().out
    assert embedded.lake.open("user_embeddings").version() == version
