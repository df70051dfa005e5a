"""Files of simulated listening, with a known truth, at any size.

::

    spark-submit --properties-file spark.conf jobs/simulate_events.py --out DIR --events N

Writes Parquet to ``DIR/items``, ``users``, ``onboarding``, ``listens`` and ``truth``;
``sources/simulation.yaml`` maps the first four onto the contracts, and only tests read the last.
``DIR/_simulation.json`` is written last: where it is there and says the same, nothing is left to
do. A job that was killed starts over, and writes the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql.pandas.types import from_arrow_schema

from jobs.session import spark_session
from schemas.errors import entry_point
from schemas.settings import Settings
from simulate import items, listens, users
from simulate.config import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

DONE = "_simulation.json"
ROWS_AT_ONCE = 500  # users whose plays, about 30,000, a worker makes together: 15 MB
USERS_PER_FILE = 8_000  # about half a million plays; as many items
FEWEST_FILES = 2  # of a table, so that two cores have work


class SimulateEvents(Simulation, Settings):  # type: ignore[misc]  # two kinds of ConfigDict
    """Simulate listeners with known tastes, and write what they play as Parquet files."""

    out: str
    """Folder for the files, on a disk that every worker sees; an earlier run's are replaced."""

    @property
    def simulation(self) -> Simulation:
        """The part of the settings that the rows depend on."""
        return Simulation(**self.model_dump(include=set(Simulation.model_fields)))


@dataclass(frozen=True)
class SimulatedTable:
    """How one table is made: rows of what, by which function, in how many files."""

    schema: pa.Schema
    rows: Callable[[Simulation, np.ndarray], pa.RecordBatch]
    of_items: bool = False
    """Whether the function takes indices of items; of users otherwise."""


TABLES = {
    "items": SimulatedTable(items.SCHEMA, items.item_batch, of_items=True),
    "users": SimulatedTable(users.USERS, users.user_batch),
    "onboarding": SimulatedTable(users.ONBOARDING, users.onboarding_batch),
    "listens": SimulatedTable(listens.SCHEMA, listens.listen_batch),
    "truth": SimulatedTable(users.TRUTH, users.truth_batch),
}


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Write every table, then the mark that all of them are there."""
    args = SimulateEvents.parse(argv)
    out, simulation = Path(args.out), args.simulation
    if is_done(out, simulation):
        print(f"{out}: these rows are there already")  # noqa: T201
        return
    (out / DONE).unlink(missing_ok=True)  # what it says is about to be wrong
    with spark_session("simulate_events") as spark:
        write(spark, simulation, out)
    mark_done(out, simulation)
    print(f"{out}: {simulation.events} events of {simulation.user_count} users")  # noqa: T201


def write(spark: SparkSession, simulation: Simulation, out: Path) -> None:
    """Write every table to its folder, in place of what was there.

    Args:
        spark: the session.
        simulation: what to simulate.
        out: folder of the folders.
    """
    # The default, INT96, reads back as nanoseconds.
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    for name in TABLES:
        simulated(spark, simulation, name).write.parquet(str(out / name), mode="overwrite")


def simulated(spark: SparkSession, simulation: Simulation, name: str) -> DataFrame:
    """Make one table of a simulation, the same rows however it is partitioned.

    Args:
        spark: the session.
        simulation: what to simulate.
        name: a key of `TABLES`.
    """
    table = TABLES[name]

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            indices = batch.column(0).to_numpy()
            for low in range(0, len(indices), ROWS_AT_ONCE):
                yield table.rows(simulation, indices[low : low + ROWS_AT_ONCE])

    count = simulation.item_count if table.of_items else simulation.user_count
    files = max(FEWEST_FILES, -(-count // USERS_PER_FILE))
    schema = from_arrow_schema(table.schema)
    return spark.range(count, numPartitions=files).mapInArrow(rows, schema)


def is_done(out: Path, simulation: Simulation) -> bool:
    """Tell whether an earlier run wrote exactly this simulation.

    Args:
        out: folder of the files.
        simulation: what they should hold.
    """
    mark = out / DONE
    return mark.exists() and mark.read_text() == simulation.model_dump_json(indent=2)


def mark_done(out: Path, simulation: Simulation) -> None:
    """Say, in one atomic step, that all files are there.

    Args:
        out: folder of the files.
        simulation: what they hold.
    """
    partial = out / f"{DONE}.partial"
    partial.write_text(simulation.model_dump_json(indent=2))
    partial.replace(out / DONE)


if __name__ == "__main__":
    main()
