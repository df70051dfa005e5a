"""The Spark schema of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.contract import contract

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


def spark_schema(table: str) -> StructType:
    """The schema of a table as Spark has it, made from its Arrow schema.

    Timestamps are moments (UTC), columns that must be filled are not nullable.
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(contract(table).arrow_schema)
