import pytest

from models.checkpoint import save_codebook
from models.codebook import fit_codebook
from models.layout import build_layout
from schemas.arrow import matrix


@pytest.mark.whole
def test_newcomers_are_asked_about_through_the_api(bench, first_days, lake):
    batch = first_days(told=True)
    rows = lake.read("track_vectors", batch)
    found = fit_codebook(matrix(rows["vector"]), rows["support"].to_numpy(), seed=0)
    save_codebook(found, lake.model_uri(batch.batch_id))
    lake.batches.record(batch.batch_id, layout=build_layout({}).model_dump_json())
    found = bench("serve_cold_start.py", "--lakehouse", lake.uri, "--seeds", "1")
    moved = [line for line in found if "unmoved" in line]
    assert moved[0]["plays"] == 1
    assert all(line["unmoved"] == 0 for line in moved)
    held = {line["asked"]: line for line in found if "cosine_with_computed" in line}
    assert [held[name]["plays"] for name in ("completed", "seen 0", "seen 1")] == [0, 0, 1]
    assert held["completed"]["cosine_with_computed"]["least"] > 0.9999
    ours = {line["protocol"] for line in found if line.get("representation") == "user_model"}
    assert {"first_hours/completed", "first_hours/seen 0", "first_hours/seen 1"} <= ours
