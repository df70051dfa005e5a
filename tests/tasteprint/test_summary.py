import io
import json

from rich.console import Console

from lakehouse.steps import StepClock
from tasteprint.summary import describe_batch, summarise

TEST = {
    "users": 3,
    "positives": 7,
    "horizon_days": 7.0,
    "as_of": "2024-03-01 00:00 UTC",
    "rows": [
        {"name": "promoted vectors", "auc": 0.8, "difference": None, "interval": None},
        {"name": "popularity", "auc": 0.5, "difference": 0.3, "interval": [0.2, 0.4]},
    ],
}


def test_a_summary_says_rows_reasons_quality_and_what_is_next(lake, batch_of):
    batch = batch_of(lake, state="candidate")
    counts = {"listens": {"good": 8, "bad": 2}}
    reasons = {"listens": {"played_at lies in the future": 2}}
    StepClock(lake, "ingest").finish("ingest-x", 10, 8, tables=counts, reasons=reasons)
    batch = batch.model_copy(update={"metrics": json.dumps({"future_listening": TEST})})
    console = Console(file=io.StringIO(), width=120)
    summarise(console, lake, "ingest-x", batch)
    shown = console.file.getvalue()
    assert "2 rows: played_at lies in the future" in shown
    assert "+0.3000" in shown
    assert "+0.2000 … +0.4000" in shown
    assert f"tasteprint batches promote {batch.batch_id}" in shown
    assert "reports" in shown


def test_a_batch_without_a_future_says_so(lake, batch_of):
    console = Console(file=io.StringIO(), width=120)
    describe_batch(console, lake, batch_of(lake))
    assert "not measured" in console.file.getvalue()
