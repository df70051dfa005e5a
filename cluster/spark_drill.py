"""The jobs on a standalone Spark cluster of three hosts, beside the same jobs on one machine.

::

    python -m cluster.spark_drill      # as root; a few minutes

``tests/cluster/test_spark_drill.py`` says what it has to see.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.exposure import Ports, knock
from cluster.hosts import hosts
from cluster.standalone import SMALL, Standalone, spark_submit
from cluster.telling import say
from lakehouse.storage import Lakehouse
from schemas.errors import InputError
from simulate import items, listens, users
from simulate.config import Simulation
from tasteprint.opening import open_batch

if TYPE_CHECKING:
    from collections.abc import Callable

SIMULATION = Simulation(events=8_000)
INGESTED = ("items", "users", "onboarding", "listens")
BUILT = ("track_vectors", "user_features", "training_examples")
VECTORS = ("vector", "features")
OWN = {"batch_id", "fingerprint"}  # which tells the bits of the numbers
ONE_MACHINE = ("--master", "local[2]", *SMALL)


@dataclass(frozen=True)
class Compared:
    """A table of the cluster beside that of one machine.

    Attributes:
        rows: how many the cluster has made.
        same: whether all is the same but the numbers of vectors.
        apart: how far the farthest two numbers of vectors are apart.
    """

    rows: int
    same: bool
    apart: float = 0.0


@dataclass
class Seen:
    """What the drill saw.

    Attributes:
        ports: what answered on each host.
        tables: what the cluster has made, beside what one machine has made.
        executors: hosts on which a job has run.
        stranger: what Spark said to a job without the secret; nothing where it ran.
    """

    ports: dict[str, Ports] = field(default_factory=dict)
    tables: dict[str, Compared] = field(default_factory=dict)
    executors: list[str] = field(default_factory=list)
    stranger: str = ""


def main() -> None:
    """Run it in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tp") as folder:
        run(Path(folder))


def run(folder: Path) -> Seen:
    """Boot, start Spark, run the jobs; the hosts are removed whatever happens.

    Args:
        folder: for everything that it writes; all hosts see it.
    """
    seen = Seen()
    simulate(folder / "data")
    alone, together = (Lakehouse(str(folder / name)) for name in ("alone", "together"))
    with ThreadPoolExecutor(2) as pool, hosts(folder, ["head", "worker-1", "worker-2"]) as found:
        cluster = Standalone(folder / "spark", found)
        cluster.start()
        seen.ports = knock(found)
        say(f"a master and two workers: {seen.ports}")
        on_one = pool.submit(way, alone, folder / "data", partial(spark_submit, *ONE_MACHINE))
        stranger = pool.submit(refusal, cluster)
        way(together, folder / "data", cluster.submit)
        seen.executors = [host.name for host in found if any(host.folder.glob("work/app-*"))]
        on_one.result()
        seen.stranger = stranger.result()
        say("all jobs have ended, on the cluster and on one machine")
    seen.tables = {table: compared(table, alone, together) for table in INGESTED + BUILT}
    say(f"{seen.tables}")
    return seen


def refusal(cluster: Standalone) -> str:
    """What is said to a job that does not know the secret."""
    try:
        cluster.submit("jobs/session.py", secret=False)
    except InputError as error:
        return str(error)
    return ""


def simulate(out: Path) -> None:
    """Write the files that ``jobs/simulate_events.py`` writes, without Spark."""
    tables: dict[str, tuple[int, Callable[[Simulation, np.ndarray], pa.RecordBatch]]] = {
        "items": (SIMULATION.item_count, items.item_batch),
        "users": (SIMULATION.user_count, users.user_batch),
        "onboarding": (SIMULATION.user_count, users.onboarding_batch),
        "listens": (SIMULATION.user_count, listens.listen_batch),
    }
    for name, (count, made) in tables.items():
        (out / name).mkdir(parents=True)
        for number, some in enumerate(np.array_split(np.arange(count), 2)):
            rows = pa.Table.from_batches([made(SIMULATION, some)])
            pq.write_table(rows, out / name / f"{number}.parquet")


def way(lake: Lakehouse, data: Path, submit: Callable[..., None]) -> None:
    """Ingest, item vectors, features."""
    there = ("--lakehouse", lake.uri)
    source = ("--source", "sources/simulation.yaml", "--data", str(data))
    submit("jobs/ingest.py", *source, *there)
    batch = open_batch(lake, holdout_days=7)
    for job in ("build_track_vectors", "build_features"):
        submit(f"jobs/{job}.py", *there, "--batch-id", batch.batch_id)


def compared(table: str, one: Lakehouse, other: Lakehouse) -> Compared:
    """Hold the rows of a table against those of another lakehouse."""
    (facts, numbers), (same_facts, same_numbers) = (
        taken_apart(lake, table) for lake in (one, other)
    )
    different = facts != same_facts or [len(row) for row in numbers] != list(map(len, same_numbers))
    if different:
        return Compared(len(same_facts), same=False)
    apart = np.abs(np.concatenate(numbers) - np.concatenate(same_numbers))
    return Compared(len(same_facts), same=True, apart=float(apart.max(initial=0)))


def taken_apart(lake: Lakehouse, table: str) -> tuple[list[str], list[np.ndarray]]:
    """What each row says in order, and its vectors, without what is of one batch alone."""
    found = lake.open(table).to_pyarrow_table()
    vectors = [field.name for field in found.schema if field.name in VECTORS]
    facts = [name for name in found.column_names if name not in (*VECTORS, *OWN)]
    told = [repr(row) for row in found.select(facts).to_pylist()]
    numbers = [
        np.concatenate([np.zeros(0), *row.values()]) for row in found.select(vectors).to_pylist()
    ]
    order = sorted(range(len(told)), key=told.__getitem__)
    return [told[row] for row in order], [numbers[row] for row in order]


if __name__ == "__main__":
    main()
