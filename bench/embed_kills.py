"""What is lost when workers, drivers and whole nodes are killed while everyone is embedded.

::

    python bench/embed_kills.py --kills 10

A Ray cluster of two nodes on this machine, with processes of their own. ``worker`` kills a process
that embeds, ``node`` the raylet of a node, which takes its workers with it and is replaced by
another node; the driver goes on by itself. ``driver`` kills the driver, and the same command is
given again. All by SIGKILL, at random moments while buckets are being embedded. At the end every
user has to have one vector, and what was begun and came to nothing is counted: in buckets, by the
time that was spent on each, at most one. Each kind is a line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from batch_embed import Embedding, made, said, workers

from lakehouse.storage import Lakehouse
from ray_apps.embed_bucket import EmbedBucket
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lakehouse.batch import Batch

Kind = Literal["worker", "node", "driver"]
TRACE = "TASTEPRINT_BENCH_TRACE"
NODES = 2
PATIENCE = 600.0  # seconds, for anything that has to happen


class EmbedKills(Settings):
    """Kill while everyone is embedded, and count what was lost."""

    kinds: tuple[Kind, ...] = ("worker", "node", "driver")
    """What is killed."""
    kills: int = 10
    """How often, of each kind."""
    users: int = 400_000
    """Users."""
    bucket: int = 4_000
    """Users of a bucket."""
    hidden: tuple[int, ...] = (2048, 2048)
    """Widths of the model's hidden layers: large, so that a bucket takes long enough to be hit."""
    apart: float = 4.0
    """Seconds between two kills, at most."""
    seed: int = 0
    """Of the moments."""
    drive: str | None = None
    """Internal: embed this batch, as a driver that tells what its workers begin."""
    lakehouse: str | None = None
    """Internal: where it is."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the users, and kill."""
    args = EmbedKills.parse(argv)
    if args.drive is not None:
        drive(args.lakehouse or "", args.drive)
        return
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            sizes = {"users": (args.users,), "bucket": args.bucket, "distinct": args.users}
            embedding = Embedding(**sizes, hidden=args.hidden)
            lake, batch = made(Lakehouse(f"{folder}/lake"), args.users, "ours", embedding)
            said(kind=kind, users=args.users, **killed(kind, lake, batch, args, Path(folder)))


def killed(
    kind: Kind, lake: Lakehouse, batch: Batch, args: EmbedKills, folder: Path
) -> dict[str, Any]:
    """Embed a batch while something is killed again and again."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported, which reads it
    os.environ.setdefault("RAY_AUTH_TOKEN", os.urandom(32).hex())
    from ray.cluster_utils import Cluster

    trace, moments = folder / "trace", random.Random(args.seed)  # noqa: S311 - no secret
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(NODES)]
    hits: list[float] = []
    try:
        driver = begun(lake, batch, cluster.address, trace)
        while driver.poll() is None or (kind == "driver" and len(hits) < args.kills):
            if driver.poll() is not None:
                raise RuntimeError(f"all was embedded after {len(hits)} kills: give more users")
            if len(hits) == args.kills:
                driver.wait(PATIENCE)
                break
            since = hits[-1] if hits else 0.0
            until(lambda now=since: any(at > now for _, at in marks(trace, "begin")), driver)
            time.sleep(moments.uniform(0, args.apart))
            if kind == "worker":
                os.kill(moments.choice(sorted(embedding_now())), signal.SIGKILL)
            elif kind == "node":
                node = nodes.pop(moments.randrange(len(nodes)))
                os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
            else:
                os.kill(driver.pid, signal.SIGKILL)
                driver.wait()
            hits.append(time.time())
            if kind == "node":
                cluster.remove_node(node, allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1))
            if kind == "driver":
                driver = begun(lake, batch, cluster.address, trace)
        if driver.returncode:
            raise RuntimeError(f"the driver ended with status {driver.returncode}")
    finally:
        cluster.shutdown()
    return {"kills": len(hits), **lost(trace, hits), **exactly_once(lake, batch.batch_id)}


def begun(lake: Lakehouse, batch: Batch, address: str, trace: Path) -> subprocess.Popen[bytes]:
    """Start the driver, as a job would."""
    return subprocess.Popen(
        [sys.executable, __file__, "--lakehouse", lake.uri, "--drive", batch.batch_id],
        env={**os.environ, "RAY_ADDRESS": address, TRACE: str(trace)},
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
    )


def drive(lakehouse: str, batch_id: str) -> None:
    """The app's own way, with workers that say what they begin and end."""
    import ray

    import ray_apps.embed_bucket as app
    from ray_apps import batch_embed

    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    ray.init(runtime_env={"env_vars": {TRACE: os.environ[TRACE]}}, log_to_driver=False)
    app.EmbedBucket = TracedEmbedBucket  # type: ignore[misc]
    batch_embed.main(["--lakehouse", lakehouse, "--batch-id", batch_id])


class TracedEmbedBucket(EmbedBucket):
    """Says when a bucket is begun and ended."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """As ``EmbedBucket``."""
        self._mark("begin", row["bucket"])
        told = super().__call__(row)
        self._mark("end", row["bucket"])
        return told

    def _mark(self, what: str, bucket: int) -> None:
        with Path(os.environ[TRACE]).open("a") as file:
            file.write(json.dumps([what, bucket, os.getpid(), time.time()]) + "\n")


def marks(trace: Path, what: str) -> list[tuple[tuple[int, int], float]]:
    """Of each mark of a kind: bucket and process, and when."""
    if not trace.exists():
        return []
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    return [((bucket, process), at) for kind, bucket, process, at in lines if kind == what]


def lost(trace: Path, hits: Sequence[float]) -> dict[str, Any]:
    """What was begun and came to nothing, in buckets, by the time that was spent."""
    ends = dict(marks(trace, "end"))
    begins = marks(trace, "begin")
    usual = float(np.median([ends[key] - at for key, at in begins if key in ends]))
    vain = [at for key, at in begins if key not in ends]
    spent = [min([hit for hit in hits if hit >= at], default=at + usual) - at for at in vain]
    again = len(ends) - len({bucket for bucket, _ in ends})  # two processes ended the same one
    wasted = sum(min(1.0, seconds / usual) for seconds in spent) + again
    return {
        "begun": len(begins),
        "in_vain": len(vain),
        "ended_twice": again,
        "wasted_buckets_per_kill": round(wasted / max(len(hits), 1), 2),
        "bucket_seconds": round(usual, 2),
    }


def exactly_once(lake: Lakehouse, batch_id: str) -> dict[str, Any]:
    """Whether every user who has features has one vector, and nobody else has any."""
    found = lake.read("user_embeddings", batch_id, ["user_id"])["user_id"].to_pylist()
    wanted = lake.read("user_features", batch_id, ["user_id"])["user_id"].to_pylist()
    return {"vectors": len(found), "exactly_once": sorted(found) == sorted(wanted)}


def embedding_now() -> list[int]:
    """Processes that embed, of those that this one has started."""
    found: list[int] = []
    give_up = time.monotonic() + PATIENCE
    while not found and time.monotonic() < give_up:
        found = [process for process in workers() if os.getpid() in ancestors(process)]
    return found


def ancestors(process: int) -> Iterator[int]:
    """The parent of a process, its parent, and so on (Linux)."""
    with suppress(OSError):
        while process > 1:
            told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            process = int(told[1])
            yield process


def until(happened: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    """Wait for something, as long as the driver runs."""
    give_up = time.monotonic() + PATIENCE
    while not happened() and driver.poll() is None:
        if time.monotonic() > give_up:
            raise TimeoutError
        time.sleep(0.05)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
