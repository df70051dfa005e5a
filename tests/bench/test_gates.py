"""The gates on batches of real listeners: each fault is caught by its check, and nothing else is.

Both batches are built by the entry points from some hundred users of ``thirtymusic_histories``, a
week of plays and another start of the factorisation apart. Their models are untrained: the vectors
are the averages that training starts from.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from evaluation import audit
from jobs import build_features, build_track_vectors, ingest
from lakehouse.publish import publish_files
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.layout import FeatureLayout
from models.user_model import UserModel, UserModelConfig
from ray_apps.embed_bucket import EmbedBucket
from tasteprint.opening import open_batch

# Two batches are built before the first test; with other work beside it that takes minutes.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
EVERY, LISTENERS = 6, 4  # one user in six; tracks that four of them have played
BATCHES = {"live": (0, 14.0), "next": (1, 7.0)}  # seed, and days that are held out
SAMPLES = 10


def loaded(name: str):
    """A script of ``bench/``, which is no package."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


gates = loaded("gates")


def some_listeners(source: Path, target: Path) -> None:
    """Copy the plays of some users, and the tracks that are in them."""
    plays = pq.read_table(source / "listens.parquet").to_pandas()
    plays = plays[plays["user_id"] % EVERY == 0]
    plays = plays[plays.groupby("track_id")["user_id"].transform("nunique") >= LISTENERS]
    tracks = pq.read_table(source / "tracks.parquet").to_pandas()
    plays.to_parquet(target / "listens.parquet", index=False)
    known = tracks["track_id"].isin(plays["track_id"])
    tracks[known].to_parquet(target / "tracks.parquet", index=False)


def by_steps(source: str) -> str:
    """The source with a play every four hours: over one span all histories would be equally old."""
    document = yaml.safe_load(source)
    columns = document["tables"]["listens"]["columns"]
    for name in ("played_at", "ingested_at"):
        kept = {key: columns[name][key] for key in ("position", "within", "ends_at")}
        columns[name] = kept | {"step": "PT4H"}
    return yaml.safe_dump(document)


def build(lake: Lakehouse, seed: int, holdout_days: float) -> str:
    """All tables of a batch, by the code of the entry points; returns its id."""
    batch_id = open_batch(lake, holdout_days).batch_id
    argv = ["--lakehouse", lake.uri, "--batch-id", batch_id, "--session-gap", "240"]
    fewer = ["--max-contexts", "2000", "--iterations", "2"]
    build_track_vectors.main([*argv, *fewer, "--seed", str(seed)])
    build_features.main([*argv, "--buckets", "8", "--cuts", "1"])
    layout = FeatureLayout.model_validate_json(lake.batch(batch_id).layout)
    torch.manual_seed(seed)
    uri = lake.model_uri(batch_id)
    digest = save_model(UserModel(UserModelConfig(layout=layout)), uri)
    batch = lake.batches.record(batch_id, model_uri=uri, model_sha256=digest)
    embed = EmbedBucket(lake.uri, batch_id)
    buckets = pc.unique(lake.read("user_features", batch)["bucket"]).to_pylist()
    for bucket in buckets:
        embed({"bucket": bucket, "size": 0})
    files = [embed.plan.file(bucket) for bucket in buckets]
    publish_files(lake, "user_embeddings", files, batch)
    return batch_id


@pytest.fixture(scope="module")
def lake(tmp_path_factory, shared_session, shared_data):
    """A lakehouse with a live batch and the next one, a candidate."""
    source = shared_data("thirtymusic_histories")
    folder = tmp_path_factory.mktemp("real")
    for job in ("ingest", "build_track_vectors", "build_features"):
        shared_session(job)
    some_listeners(source, folder)
    found = Lakehouse(str(folder / "lake"))
    mapping = folder / "source.yaml"
    mapping.write_text(by_steps((ROOT / "sources" / "thirtymusic_histories.yaml").read_text()))
    ingest.main(["--source", str(mapping), "--data", str(folder), "--lakehouse", found.uri])
    for name, (seed, holdout_days) in BATCHES.items():
        batch_id = build(found, seed, holdout_days)
        audit.main(["--lakehouse", found.uri, "--batch-id", batch_id])
        if name == "live":
            found.batches.promote(batch_id)
    return found


@pytest.fixture(scope="module")
def coming(lake):
    """The next batch."""
    return next(batch for batch in lake.batches.list() if batch.state == "candidate")


@pytest.fixture(scope="module")
def rehearsal(lake, coming, tmp_path_factory):
    """A copy of both, in which the next one comes to its gates again."""
    return gates.rehearsal(lake, lake.batch("live"), coming, tmp_path_factory.mktemp("copy"))


def test_a_clean_batch_passes_every_gate_without_a_warning(coming):
    tables = ("track_vectors", "training_vectors", "user_features", "user_embeddings", "batch")
    assert {table: coming.gates[table] for table in tables} == dict.fromkeys(tables, "passed")


@pytest.mark.parametrize("name", gates.FAULTS)
def test_a_fault_is_caught_by_the_check_that_is_meant_for_it_and_by_no_other(rehearsal, name):
    fault = gates.FAULTS[name]
    verdict = rehearsal.with_fault(fault, seed=0)
    assert gates.broken(verdict, "fail") == fault.fails
    assert gates.broken(verdict, "warn") <= fault.warns
    assert verdict.outcome == "failed"


@pytest.mark.parametrize("seed", range(SAMPLES))
def test_other_users_of_the_same_kind_raise_nothing(lake, coming, tmp_path, seed):
    sample = gates.bootstrap(lake, lake.batch("live"), coming, tmp_path, seed)
    for table in gates.OF_USERS:
        verdict = sample.verdict(table)
        raised = [check.said for check in verdict.checks if not check.success]
        assert (verdict.outcome, raised) == ("passed", [])


def test_vectors_that_tell_the_future_worse_than_the_live_ones_are_not_promoted(
    lake, coming, capsys
):
    tables = {table: lake.read(table, coming) for table in gates.TABLES}
    shuffle = gates.in_vectors("embedding", gates.half_shuffled)
    rng = np.random.default_rng(0)
    tables["user_embeddings"] = shuffle(tables["user_embeddings"], {}, rng)
    worse = gates.opened(lake, coming, tables)
    with pytest.raises(SystemExit):
        audit.main(["--lakehouse", lake.uri, "--batch-id", worse.batch_id])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  - ")]
    assert [line.split()[-1] for line in said] == ["[live.future_listening]"]
    assert lake.batch(worse.batch_id).state == "building"
