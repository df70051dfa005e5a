r"""Somebody's listens as Parquet, each judged as an ingest judges it, for whoever replays them.

::

    spark-submit --properties-file spark.conf jobs/read_listens.py \\
        --source sources/NAME.yaml --data DIR --out DIR

No lakehouse is read or written. ``reasons`` says what is wrong with a row by itself, and is empty
for a good one; whether its item is known, and whether it came before, is for the receiver to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.judge import REASONS, judge, read_table
from jobs.session import spark_session
from jobs.source import check_source
from schemas.contract import contract
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = "listens"


class ReadListens(Settings):
    """Read a source's listens by its mapping, and write them as Parquet."""

    source: str
    """Source file: how the columns map onto our contracts (sources/*.yaml)."""
    data: str
    """Folder or URI that holds the source's files."""
    out: str
    """Folder for the Parquet files; what an earlier run left there is replaced."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Read, judge and write all listens of one delivery."""
    args = ReadListens.parse(argv)
    delivery = check_source(args.source, args.data)
    spec = delivery.source.tables[TABLE]
    with spark_session("read_listens") as spark:
        judged = judge(read_table(spark, delivery, spec), TABLE, spec)
        told = judged.select(*contract(TABLE).column_names, F.col(REASONS).alias("reasons"))
        told.write.mode("overwrite").parquet(args.out)


if __name__ == "__main__":
    main()
