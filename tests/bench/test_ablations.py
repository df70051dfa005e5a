import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.cooccurrence import FOLDS
from models.checkpoint import save_codebook
from models.codebook import Codebook
from models.layout import INTERESTS, FeatureLayout, build_layout
from schemas.arrow import list_column, matrix
from schemas.contract import contract
from tests.conftest import GENRES, MOMENT

USERS = 120
PROGRAM = Path(__file__).resolve().parents[2] / "bench/ablations.py"


def _loaded():
    spec = importlib.util.spec_from_file_location("ablations", PROGRAM)
    found = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = found  # where its data classes look for their names
    spec.loader.exec_module(found)
    return found


ablations = _loaded()


@pytest.fixture
def batch(lake, two_spaces):
    """A live batch whose features and examples are made by hand: everybody likes one genre."""
    live = two_spaces(users=USERS)[1]
    layout = build_layout({})
    lake.batches.record(live.batch_id, layout=layout.model_dump_json())
    save_codebook(Codebook(), lake.model_uri(live.batch_id))
    tracks = lake.read("track_vectors", live)
    for table, rows in _tables(live.batch_id, layout, tracks):
        lake.append(table, rows.select(contract(table).column_names))
        lake.batches.record(live.batch_id, tables={table: lake.open(table).version()})
    return lake.batches.get(live.batch_id)


def _tables(batch_id: str, layout: FeatureLayout, tracks: pa.Table):
    ids = tracks["item_id"].to_pylist()
    folds = [tracks.append_column("fold", pa.array([fold] * len(ids))) for fold in range(FOLDS)]
    yield "training_vectors", pa.concat_tables(folds)
    tastes = matrix(tracks["vector"])[[ids.index(f"t{user % GENRES}") for user in range(USERS)]]
    features = np.zeros((USERS, layout.width), np.float32)
    present = np.zeros((USERS, len(layout.groups)), np.float32)
    features[:, layout["taste_7d"].slice] = tastes
    present[:, layout.names.index("taste_7d")] = 1
    users = {
        "batch_id": [batch_id] * USERS,
        "user_id": [f"u{user}" for user in range(USERS)],
        "bucket": [0] * USERS,
        "as_of": [MOMENT] * USERS,
        "features": list_column(features),
        "present": list_column(present),
    }
    since = {"played_between": [[]] * USERS, "decayed_plays": [[]] * USERS}
    since["fingerprint"] = [0] * USERS
    yield "user_features", pa.table({**users, **since})
    example = {
        "validation": [user % 10 == 0 for user in range(USERS)],
        "fold": [user % FOLDS for user in range(USERS)],
        "weight": [1.0] * USERS,
        "targets": [[f"t{user % GENRES + GENRES}"] for user in range(USERS)],
    }
    yield "training_examples", pa.table({**users, **example})


def test_variants_are_trained_and_measured_alike(lake, batch, capsys):
    names = ["as it ships", "without item vectors", "reconstruction alone"]
    where = ["--lakehouse", lake.uri, "--batch", batch.batch_id]
    ablations.main([*where, "--variants", json.dumps(names), "--training.epochs", "1"])
    whole, blind, blunt = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["variant"] for line in (whole, blind, blunt)] == names
    assert whole["auc of dot products"] > 0.9
    assert blind["auc of dot products"] == pytest.approx(0.5, abs=0.1)
    assert blunt.keys() == whole.keys()
    assert whole["effective dimension"] > blind["effective dimension"]


def test_every_variant_names_groups_and_settings_that_there_are():
    layout = build_layout({})
    for variant in ablations.VARIANTS.values():
        assert set(variant.hidden) <= set(layout.names)
        assert set(variant.training) <= set(ablations.TrainingConfig.model_fields)
    hidden = {*ablations.TASTES, *ablations.HABITS, *ablations.TOLD}
    assert hidden == set(layout.names)
    assert INTERESTS in ablations.TASTES
