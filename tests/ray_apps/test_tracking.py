import pytest

from ray_apps.tracking import track, tracking_wanted

mlflow = pytest.importorskip("mlflow")

TOLD = {
    "history": [
        {"epoch": 1, "loss": 3.0, "auc": None},
        {"epoch": 2, "loss": 2.0, "auc": 0.7},
    ],
    "share": 0.4,
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder of MLflow, whose small edition has no database."""
    uri = f"file://{tmp_path}/mlruns"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    return str(folder)


def test_nobody_is_told_where_no_store_is_named(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert not tracking_wanted()


def test_settings_curve_and_model_are_one_run(store, model):
    assert tracking_wanted()
    track("b1", {"learning_rate": 0.1, "epochs": 2}, TOLD, model)
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("tasteprint").experiment_id])
    assert run.info.run_name == "b1"
    assert run.data.params == {"learning_rate": "0.1", "epochs": "2"}
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(entry.step, entry.value) for entry in losses] == [(1, 3.0), (2, 2.0)]
    aucs = client.get_metric_history(run.info.run_id, "auc")
    assert [(entry.step, entry.value) for entry in aucs] == [(2, 0.7)]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "model")] == [
        "model/model.json"
    ]
