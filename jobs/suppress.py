"""Leaving out the rows of people who were erased, before anything else looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import ArrowUDFType, arrow_udf

from jobs.judge import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column

    from lakehouse.suppression import Suppressed

ROWS = "rows"


def without_erased(
    judged: DataFrame, raw: Column, erased: Suppressed
) -> tuple[DataFrame, Callable[[], int]]:
    """Drop the rows of people who were erased, and bad rows that hold the id of one anywhere.

    They do not go to the quarantine either, which would bring back what was erased.

    Args:
        judged: as ``judge`` gives it, of a table with ``user_id``.
        raw: the row as it came, JSON.
        erased: who.

    Returns:
        the other rows; and how many were dropped, to be asked once Spark has computed them.
    """
    bad = F.when(F.size(REASONS) > 0, raw)  # of a good row no other value is kept
    dropped = Observation()
    marked = judged.withColumn("_erased", _is_erased(erased)(F.col("user_id"), bad))
    counted = marked.observe(dropped, F.count_if("_erased").alias(ROWS))
    return counted.where(~F.col("_erased")).drop("_erased"), lambda: int(dropped.get[ROWS])


def _is_erased(erased: Suppressed) -> Callable[[Column, Column], Column]:
    """A function of Spark's workers: the key travels inside it, and stands in no plan or log."""

    def is_erased(user_id: pa.Array, raw: pa.Array) -> pa.Array:
        return pc.or_(erased.among(user_id), erased.told_in(raw))

    return arrow_udf(is_erased, "boolean", ArrowUDFType.SCALAR)
