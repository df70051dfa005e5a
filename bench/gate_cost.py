r"""What a gate costs beside the job that it checks: seconds of both, on a million rows by default.

::

    python bench/gate_cost.py --folder DIR

``ingest`` brings simulated plays into an empty lakehouse. ``embed`` embeds users with random
features beside a live batch, so that its gate runs every check against that batch too. Both are
the entry points as an operator starts them; the seconds are those of their rows in ``steps``.
Prints one JSON line per run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from lakehouse.steps import finished_steps
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.layout import FeatureLayout, build_layout
from models.user_model import UserModel, UserModelConfig
from schemas.arrow import list_column
from schemas.contract import contract
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
Job = Literal["ingest", "embed"]
SPARK = [
    str(Path(sys.executable).with_name("spark-submit")),
    *("--properties-file", str(ROOT / "spark.conf")),
]
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BUCKETS, AT_ONCE = 16, 50_000


def run(command: list[str], log: Path) -> None:
    """Run a step of the way to its end."""
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with log.open("a") as file:
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=file, stderr=file)


def ingest(folder: Path, rows: int, repeat: int) -> tuple[Lakehouse, str]:
    """Bring simulated plays into an empty lakehouse; returns it and the id of the ingest."""
    data, log = folder / f"simulation-{rows}", folder / "log"
    if not data.exists():
        job = str(ROOT / "jobs/simulate_events.py")
        run([*SPARK, job, "--out", str(data), "--events", str(rows)], log)
    lake = Lakehouse(str(folder / f"ingest-{repeat}"))
    source = str(ROOT / "sources/simulation.yaml")
    job = str(ROOT / "jobs/ingest.py")
    run([*SPARK, job, "--source", source, "--data", str(data), "--lakehouse", lake.uri], log)
    ids = lake.rows("steps", columns=["run_id"])["run_id"].to_pylist()
    return lake, ids[0]


def embed(folder: Path, rows: int, repeat: int) -> tuple[Lakehouse, str]:
    """Embed users beside a live batch; returns the lakehouse and the id of the new batch."""
    lake = Lakehouse(str(folder / "embed"))
    if repeat == 0:
        live = _with_features(lake, rows)
        _embed(lake, live, folder / "log")
        lake.batches.record(live, state="candidate")
        lake.batches.promote(live)
    batch_id = _with_features(lake, rows)
    _embed(lake, batch_id, folder / "log")
    return lake, batch_id


def _embed(lake: Lakehouse, batch_id: str, log: Path) -> None:
    app = str(ROOT / "ray_apps/batch_embed.py")
    run([sys.executable, app, "--lakehouse", lake.uri, "--batch-id", batch_id], log)


def _with_features(lake: Lakehouse, rows: int) -> str:
    """A batch with random features for so many users, and a model that was never trained."""
    layout = build_layout({"surface": ["home", "search"], "country": ["DE", "SE"]})
    batch_id = lake.batches.open(AS_OF, {}, "bench", "bench").batch_id
    schema = contract("user_features").arrow_schema
    rng = np.random.default_rng(0)
    for start in range(0, rows, AT_ONCE):
        users = np.arange(start, min(start + AT_ONCE, rows))
        lake.append("user_features", _features(rng, users, batch_id, layout, schema))
    uri = lake.model_uri(batch_id)
    digest = save_model(UserModel(UserModelConfig(layout=layout)), uri)
    lake.batches.record(
        batch_id,
        tables={"user_features": lake.open("user_features").version()},
        layout=layout.model_dump_json(),
        model_uri=uri,
        model_sha256=digest,
    )
    return batch_id


def _features(
    rng: np.random.Generator,
    users: np.ndarray,
    batch_id: str,
    layout: FeatureLayout,
    schema: pa.Schema,
) -> pa.Table:
    count = len(users)
    values = rng.standard_normal((count, layout.width)).astype(np.float32)
    columns = {
        "batch_id": [batch_id] * count,
        "user_id": [f"u{user}" for user in users],
        "bucket": pa.array((users * BUCKETS // (users.max() + 1)).astype(np.int32)),
        "as_of": [AS_OF] * count,
        "features": list_column(values),
        "present": list_column(np.ones((count, len(layout.groups)), np.float32)),
        "played_between": [[]] * count,
        "decayed_plays": [[]] * count,
        "fingerprint": pa.array(np.zeros(count, np.int64)),
    }
    return pa.Table.from_pydict(columns, schema=schema)


JOBS = {"ingest": ingest, "embed": embed}


def measure(job: Job, folder: Path, rows: int, repeat: int) -> dict[str, object]:
    """Run a job once; its seconds, those of its gates, and their share."""
    lake, run_id = JOBS[job](folder, rows, repeat)
    steps = finished_steps(lake, run_id)
    whole = steps[job]["seconds"]
    gates = {name: row["seconds"] for name, row in steps.items() if name.startswith("gate of ")}
    spent = sum(gates.values())
    return {
        "job": job,
        "rows": rows,
        "repeat": repeat,
        "job_s": round(whole, 2),
        "gates_s": round(spent, 2),
        "share": round(spent / whole, 3),
        "gates": {name.removeprefix("gate of "): round(s, 2) for name, s in gates.items()},
    }


class GateCost(Settings):
    """Measure what the gates of two jobs cost beside the jobs."""

    folder: Path
    """An empty folder to work in."""
    rows: int = 1_000_000
    """Plays of the ingest, users of the embedding."""
    repeats: int = 3
    """Runs of each job."""
    jobs: tuple[Job, ...] = ("ingest", "embed")
    """Which of them."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Measure each job, and print a JSON line for each run."""
    args = GateCost.parse(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    for job in args.jobs:
        for repeat in range(args.repeats):
            print(json.dumps(measure(job, args.folder, args.rows, repeat)), flush=True)
            shutil.rmtree(args.folder / f"{job}-{repeat}", ignore_errors=True)


if __name__ == "__main__":
    main()
