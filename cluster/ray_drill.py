"""A Ray cluster of three hosts that loses one in training, and one in embedding.

::

    python -m cluster.ray_drill      # as root; a few minutes

It does what ``docs/cluster.md`` tells a person to do, and says what it saw;
``tests/cluster/test_ray_drill.py`` says what it has to see.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.batch import made
from cluster.exposure import Ports, knock
from cluster.hosts import Host, addresses, hosts
from cluster.launcher import Launcher, status
from cluster.telling import say
from lakehouse.storage import Lakehouse
from models.training import TrainingConfig
from models.training_state import steps_of
from ray_apps.attempts import Attempts

if TYPE_CHECKING:
    from lakehouse.batch import Batch

USERS, BUCKETS, EPOCHS = 4800, 240, 8
THIRD = 3  # checkpoint, after which a host is cut
PATIENCE = 600  # seconds for a job on a busy machine
TRAINING = TrainingConfig(epochs=EPOCHS, batch_size=64, patience=0)
FLAGS = (
    *("--training.epochs", str(EPOCHS), "--training.batch-size", "64", "--training.patience", "0"),
    *("--checkpoint-seconds", "0", "--workers", "2"),
)


@dataclass
class Seen:
    """What the drill saw.

    Attributes:
        statuses: HTTP status of the job API, by who asks.
        ports: what answered on each host.
        trained_on: hosts on which training workers were, before the cut.
        cut: the host that was cut, by job.
        steps_kept: steps of the newest checkpoint at the cut.
        training_log: what the training job printed.
        epochs: numbers of the epochs in the model's learning curve.
        files_kept: files of vectors that were written before the cut.
        users: ids of those who have features.
        embedded: ids of those who have a vector, once for each vector.
        left_on_head: Ray's processes on the head after ``ray down``.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    ports: dict[str, Ports] = field(default_factory=dict)
    trained_on: list[str] = field(default_factory=list)
    cut: dict[str, str] = field(default_factory=dict)
    steps_kept: int = 0
    training_log: str = ""
    epochs: list[int] = field(default_factory=list)
    files_kept: int = 0
    users: list[str] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)
    left_on_head: list[str] = field(default_factory=list)


def main() -> None:
    """Run it in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tp") as folder:
        run(Path(folder))


def run(folder: Path) -> Seen:
    """Boot, ``ray up``, train, embed, ``ray down``; the hosts are removed whatever happens.

    Args:
        folder: for everything that it writes; all hosts see it.
    """
    seen = Seen()
    lake = Lakehouse(str(folder / "lake"))
    batch = made(lake, USERS, BUCKETS)
    say("a batch is ready to be trained")
    with hosts(folder, ["head", "worker-1", "worker-2"]) as found:
        launcher = Launcher(folder / "launcher", found)
        launcher.up()
        say("ray up: three hosts")
        with launcher.dashboard() as address:
            seen.statuses, seen.ports = refusals(launcher, address), knock(found)
            say(f"job API: {seen.statuses}; {seen.ports}")
            train(seen, launcher, address, lake, batch)
            bring_back(seen, launcher, "train")
            embed(seen, launcher, address, lake, batch)
        launcher.down()
        seen.left_on_head = [title for title in found[0].processes() if "raylet" in title]
        say("ray down")
    return seen


def refusals(launcher: Launcher, address: str) -> dict[str, int]:
    """HTTP status of the job API, by who asks."""
    jobs = f"{address}/api/jobs/"
    return {
        "nobody": status(jobs),
        "a stranger": status(jobs, "0" * 64),
        "we": status(jobs, launcher.token.read_text()),
    }


def train(seen: Seen, launcher: Launcher, address: str, lake: Lakehouse, batch: Batch) -> None:
    """Train with two workers; one of their hosts is cut after the third checkpoint."""
    argv = ("--lakehouse", lake.uri, "--batch-id", batch.batch_id, *FLAGS)
    attempts = Attempts(f"{lake.uri}/checkpoints", batch, TRAINING)
    job = launcher.submit(address, "python", "ray_apps/train_user_model.py", *argv)
    kept: set[str] = set()

    def third() -> bool:  # Ray Train has heard of the first by then
        kept.update(filter(None, [attempts.newest()]))
        return len(kept) == THIRD

    job.until(third, PATIENCE)
    victim = cut_one(seen, launcher, "train", "RayTrainWorker")
    seen.steps_kept = steps_of(attempts.newest() or "") or 0
    say(f"training: {victim.name} cut after {seen.steps_kept} steps")
    seen.training_log = job.wait(PATIENCE)
    model = json.loads((Path(lake.model_uri(batch.batch_id)) / "model.json").read_text())
    seen.epochs = [entry["epoch"] for entry in model["history"]]
    say(f"training ended after {len(seen.epochs)} epochs")


def embed(seen: Seen, launcher: Launcher, address: str, lake: Lakehouse, batch: Batch) -> None:
    """Embed with an actor on two hosts; one of them is cut when the first vectors are written."""
    argv = ("--lakehouse", lake.uri, "--batch-id", batch.batch_id, "--cpus-per-actor", "1.5")
    written = Path(lake.table_uri("user_embeddings"))
    job = launcher.submit(address, "python", "ray_apps/batch_embed.py", *argv)
    job.until(lambda: any(written.rglob("*.parquet")), PATIENCE)
    victim = cut_one(seen, launcher, "embed", "MapWorker")
    seen.files_kept = len(list(written.rglob("*.parquet")))
    say(f"embedding: {victim.name} cut after {seen.files_kept} of {BUCKETS} buckets")
    job.wait(PATIENCE)
    batch = lake.batches.get(batch.batch_id)
    seen.users = ids(lake, "user_features", batch)
    seen.embedded = ids(lake, "user_embeddings", batch)
    say(f"embedding ended: {len(seen.embedded)} vectors of {len(seen.users)} users")


def ids(lake: Lakehouse, table: str, batch: Batch) -> list[str]:
    """User ids of a table, once for each row."""
    found: list[str] = (
        lake.dataset(table, batch).to_table(columns=["user_id"])["user_id"].to_pylist()
    )
    return sorted(found)


def cut_one(seen: Seen, launcher: Launcher, job: str, role: str) -> Host:
    """Cut a host on which a process of this role runs, but not the head.

    Raises:
        StopIteration: there is none.
    """
    at_work = [
        host for host in launcher.hosts if any(f"ray::{role}" in one for one in host.processes())
    ]
    if job == "train":
        seen.trained_on = [host.name for host in at_work]
    victim = next(host for host in at_work if host is not launcher.hosts[0])
    victim.cut()
    seen.cut[job] = victim.name
    return victim


def bring_back(seen: Seen, launcher: Launcher, job: str) -> None:
    """Boot what was cut; it joins by itself."""
    began = time.monotonic()
    host = next(host for host in launcher.hosts if host.name == seen.cut[job])
    host.boot(addresses(launcher.hosts))
    launcher.wait_for(len(launcher.hosts))
    say(f"{host.name} booted again, and in the cluster after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
