import shutil
from datetime import timedelta

import numpy as np
import pytest
from rich.console import Console

from lakehouse.consumers import ConsumerRegistry
from lakehouse.storage import Lakehouse
from schemas.arrow import matrix
from schemas.errors import BatchError
from tasteprint import refresh
from tasteprint.refresh import BatchesRefresh, refresh_promised

pytestmark = [pytest.mark.spark, pytest.mark.ray, pytest.mark.whole, pytest.mark.timeout(1200)]


@pytest.fixture
def copied(served, tmp_path):
    return Lakehouse(shutil.copytree(served.uri, tmp_path / "lake"))


@pytest.fixture(autouse=True)
def on_this_session(monkeypatch, in_process):
    monkeypatch.setattr(refresh, "execute", in_process)


def vectors(lake, batch="live") -> dict[str, np.ndarray]:
    rows = lake.read("user_embeddings", batch, ["user_id", "embedding"])
    return dict(zip(rows["user_id"].to_pylist(), matrix(rows["embedding"]), strict=True))


def test_a_refresh_moves_the_vectors_of_who_has_played_since_in_the_same_space(copied):
    before, old = copied.batches.get("live"), vectors(copied)
    moment = before.as_of + timedelta(hours=12)
    told = moment.replace(tzinfo=None).isoformat()  # as people type it, who mean UTC
    BatchesRefresh.parse(["--lakehouse", copied.uri, "--as-of", told]).cli_cmd()
    after, new = copied.batches.get("live"), vectors(copied)
    assert after.as_of == moment
    assert after.refresh is None
    assert (after.model_sha256, after.layout) == (before.model_sha256, before.layout)
    assert after.tables["track_vectors"] == before.tables["track_vectors"]
    assert new.keys() == old.keys()
    assert any(not np.allclose(new[user], old[user]) for user in old)


def test_a_legacy_batch_that_somebody_reads_follows_the_live_one(copied, capsys):
    legacy = copied.batches.get("live")
    ConsumerRegistry(copied).register("search")
    moment = legacy.as_of + timedelta(hours=12)
    live = copied.batches.open(moment, legacy.parents, "s", "v")
    copied.batches.record(live.batch_id, state="candidate")
    copied.batches.promote(live.batch_id, legacy_until=moment)
    args = BatchesRefresh(lakehouse=copied.uri)
    refresh_promised(args, copied, Console())
    assert copied.batches.get("legacy").as_of == moment
    assert "search read it" in capsys.readouterr().out
    refresh_promised(args, copied, Console())
    assert capsys.readouterr().out == ""


def test_a_refresh_that_is_given_up_changes_nothing(copied):
    before = copied.batches.get("live")
    copied.batches.begin_refresh(before.batch_id, before.as_of + timedelta(days=1), before.parents)
    BatchesRefresh(batch="live", lakehouse=copied.uri, drop=True).cli_cmd()
    after = copied.batches.get("live")
    assert (after.as_of, after.tables, after.refresh) == (before.as_of, before.tables, None)


def test_a_batch_older_than_recipes_is_not_refreshed(copied):
    batch = copied.batches.get("live").model_copy(update={"recipe": {}})
    with pytest.raises(BatchError, match="does not say how its embed and features"):
        refresh.refresh(BatchesRefresh(lakehouse=copied.uri), copied, batch, Console())
