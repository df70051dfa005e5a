import pytest
from pyspark.sql.types import ArrayType, FloatType, LongType, StructField, TimestampType

from schemas.contract import contract, contract_names
from schemas.spark import spark_schema


def test_types_and_nulls_are_those_of_the_contract():
    schema = spark_schema("listens")
    assert schema["ms_played"] == StructField("ms_played", LongType(), nullable=True)
    assert schema["played_at"] == StructField("played_at", TimestampType(), nullable=False)
    assert spark_schema("track_vectors")["vector"].dataType == ArrayType(FloatType())


@pytest.mark.parametrize("name", contract_names())
def test_datacontract_cli_reads_the_same_from_the_contract(name):
    from datacontract.export.spark_exporter import to_pyspark_schema

    def plain(schema):
        return [(field.name, field.dataType, field.nullable) for field in schema]

    assert plain(spark_schema(name)) == plain(to_pyspark_schema(contract(name).table))
