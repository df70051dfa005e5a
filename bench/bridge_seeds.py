"""What a bridge keeps between two batches that differ only by their seeds.

::

    python bench/bridge_seeds.py --lakehouse URI --batch live --seeds 1 --seeds 2
    python bench/bridge_seeds.py --lakehouse URI --batch live --seeds 1 --item-vectors

For each seed a second batch is made from the same pinned inputs: with ``--item-vectors`` its item
vectors are factorised from another start, and everything after them is made anew; without, it
takes over the item vectors, features and training examples, and only training differs. No batch is
promoted. A bridge leads from the second batch into the first; it is written to the lakehouse, and
each of its measures is printed as a line of JSON, followed by what other maps would keep.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from evaluation.bridge import build, fit, fitted_trial
from evaluation.bridge_measures import BRIDGE, OLD, Pairs, Trial, future_aucs, neighbours_kept
from lakehouse.drift import unit_rows
from lakehouse.storage import Lakehouse
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakehouse.batch import Batch

ROOT = Path(__file__).resolve().parents[1]
BEFORE_TRAINING = ("track_vectors", "training_vectors", "user_features", "training_examples")


class BridgeSeeds(Settings):
    """Make batches that differ only by their seeds, and measure the bridges between them."""

    lakehouse: str
    """Folder or URI of a lakehouse with a whole batch."""
    batch: str = "live"
    """The batch into whose space the bridges lead."""
    seeds: tuple[int, ...] = (1,)
    """Seeds of the other batches, one each."""
    item_vectors: bool = False
    """Whether the item vectors have another seed, too."""
    session_gap: float = 30.0
    """Minutes of silence that end a session, as in the batch's source file."""
    epochs: int = 20
    """Passes of training over the users."""
    horizon_days: float = 7.0
    """Days in which plays are foretold."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the batches one after the other, and print what their bridges keep."""
    args = BridgeSeeds.parse(argv)
    lake = Lakehouse(args.lakehouse)
    old = lake.batch(args.batch)
    for seed in args.seeds:
        new = lake.batch(twin(lake, old, seed, args))
        about = {"new": new.batch_id, "old": old.batch_id, "seed": seed}
        for line in measures(lake, new, old, args.horizon_days):
            print(json.dumps({**about, "item_vectors": args.item_vectors, **line}), flush=True)


def twin(lake: Lakehouse, old: Batch, seed: int, args: BridgeSeeds) -> str:
    """Make a batch of the same inputs with another seed; returns its id."""
    new = lake.batches.open(old.as_of, old.parents, f"seed {seed}", old.code_version)
    ids = ["--lakehouse", lake.uri, "--batch-id", new.batch_id]
    if args.item_vectors:
        gap, days = str(args.session_gap), str(args.horizon_days)
        _spark("build_track_vectors", [*ids, "--session-gap", gap, "--seed", str(seed)])
        _spark("build_features", [*ids, "--session-gap", gap, "--horizon-days", days])
    else:
        take_over(lake, old, new)
    training = ["--training.epochs", str(args.epochs), "--training.seed", str(seed)]
    _run([sys.executable, "ray_apps/train_user_model.py", *ids, *training])
    _run([sys.executable, "ray_apps/batch_embed.py", *ids])
    return new.batch_id


def take_over(lake: Lakehouse, old: Batch, new: Batch) -> None:
    """Publish a batch's tables, up to what training reads, as those of another."""
    for table in BEFORE_TRAINING:
        rows = lake.read(table, old)
        place = rows.schema.get_field_index("batch_id")
        name = pa.repeat(pa.scalar(new.batch_id), len(rows))
        lake.append(table, rows.set_column(place, rows.schema.field(place), name))
        version = lake.open(table).version()
        lake.batches.record(new.batch_id, tables={table: version}, layout=old.layout)


def measures(
    lake: Lakehouse, new: Batch, old: Batch, horizon_days: float
) -> Iterator[dict[str, Any]]:
    """What the bridge keeps, and then what maps would keep that were fitted in other ways."""
    bridge, verdict = build(lake, new.batch_id, old.batch_id, horizon_days, seed=0)
    counts = {name: bridge.metrics[name] for name in ("held_out", "tracks")}
    yield {"outcome": verdict.outcome, "fitted": bridge.users, **counts}
    for name, found in bridge.metrics["measures"].items():
        yield {"measure": name, **found}
    trial = fitted_trial(lake, new, old)
    for name, chosen in alternatives(trial.fitted, trial.tracks).items():
        yield {"map": name, **kept(lake, replace(trial, rotation=chosen), horizon_days)}


def alternatives(users: Pairs, tracks: Pairs) -> dict[str, np.ndarray]:
    """Maps that were fitted in other ways, (d, d) each, by what they are."""
    few = np.random.default_rng(0).permutation(len(users.ids))
    return {
        "users and tracks": fit(users, tracks),
        "users alone": fit(users, tracks, tracks_share=0.0),
        "tracks alone": fit(users, tracks, tracks_share=1.0),
        "a tenth of the users, and tracks": fit(users.where(few[: len(few) // 10]), tracks),
        "a hundred users alone": fit(users.where(few[:100]), tracks, tracks_share=0.0),
        "users alone, any linear map": np.linalg.lstsq(users.new, users.old, rcond=None)[0],
    }


def kept(lake: Lakehouse, trial: Trial, horizon_days: float) -> dict[str, float]:
    """What a map keeps of held-out users and of tracks; it need not be orthogonal."""
    arrived = [unit_rows(side.new @ trial.rotation) for side in (trial.tested, trial.tracks)]
    sides = zip(arrived, (trial.tested, trial.tracks), strict=True)
    users, tracks = (float(np.einsum("nd,nd->n", new, side.old).mean()) for new, side in sides)
    aucs = future_aucs(lake, trial, horizon_days, seed=0)
    near = neighbours_kept(trial.tested, trial.rotation)[BRIDGE]
    return {
        "cosine of users": users,
        "cosine of tracks": tracks,
        "neighbours": float(near.mean()),
        "loss of AUC": float((aucs[OLD] - aucs[BRIDGE]).mean()),
    }


def _spark(job: str, arguments: Sequence[str]) -> None:
    submit = [
        str(Path(sys.executable).with_name("spark-submit")),
        "--properties-file",
        "spark.conf",
    ]
    _run(
        [*submit, "--driver-java-options", "-XX:TieredStopAtLevel=1", f"jobs/{job}.py", *arguments]
    )


def _run(command: Sequence[str]) -> None:
    """Run an entry point to its end; its own output goes to stderr, so that lines stay JSON."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYSPARK_PYTHON": sys.executable}
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr, env=environment)


if __name__ == "__main__":
    main()
