import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.storage import Lakehouse
from schemas.arrow import list_column, matrix
from schemas.errors import BatchError
from tasteprint import rebuild
from tasteprint.rebuild import BatchesRebuild, differences, require_model, require_recipe

pytestmark = [pytest.mark.spark, pytest.mark.ray, pytest.mark.whole, pytest.mark.timeout(1200)]


@pytest.fixture
def copied(served, tmp_path):
    return Lakehouse(shutil.copytree(served.uri, tmp_path / "lake"))


@pytest.fixture
def rebuilding(monkeypatch, in_process):
    monkeypatch.setattr(rebuild, "execute", in_process)
    return lambda lake, **more: BatchesRebuild(batch="live", lakehouse=lake.uri, **more).cli_cmd()


def test_a_batch_is_made_again_and_found_equal_though_its_inputs_have_grown(
    copied, rebuilding, capsys
):
    original = copied.batches.get("live")
    known = copied.open("listens").to_pyarrow_table().slice(0, 1)
    row = known.to_pylist()[0] | {"event_id": "new", "user_id": "nobody"}
    copied.append("listens", pa.Table.from_pylist([row], schema=known.schema))
    rebuilding(copied)
    said = capsys.readouterr().out
    assert "are equal" in said
    (made,) = [one for one in copied.batches.list() if one.batch_id != original.batch_id]
    assert made.state == "retired"
    assert made.rebuild_of == original.batch_id
    assert copied.batches.get("live") == original
    assert differences(copied, original, made) == []


def test_what_differs_is_named(copied, monkeypatch):
    original = copied.batches.get("live")
    true = copied.read("user_embeddings", original)
    moved = matrix(true["embedding"]).copy()
    moved[3, 5] += 1e-3
    place = true.column_names.index("embedding")
    false = true.set_column(place, true.schema.field("embedding"), list_column(moved))
    read = copied.read
    answers = iter([true, false])
    monkeypatch.setattr(
        copied,
        "read",
        lambda table, *rest: next(answers) if table == "user_embeddings" else read(table, *rest),
    )
    assert differences(copied, original, original) == [
        "user_embeddings.embedding: numbers differ by up to 0.001"
    ]


def test_a_model_that_is_not_the_pinned_one_is_refused(copied):
    batch = copied.batches.record(
        copied.batches.get("live").batch_id, model_uri=copied.model_uri("live")
    )
    with pytest.raises(BatchError, match="is not at"):
        require_model(copied, batch)
    Path(batch.model_uri).mkdir(parents=True)
    Path(batch.model_uri, "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BatchError, match="is not the one it pins"):
        require_model(copied, batch)


def test_a_batch_that_does_not_say_how_it_was_made_is_not_rebuilt(copied):
    partly = copied.batches.get("live").model_copy(update={"recipe": {"track_vectors": {}}})
    with pytest.raises(BatchError, match="embed, features are missing"):
        require_recipe(partly)
