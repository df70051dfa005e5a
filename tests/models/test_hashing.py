import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from models.hashing import xxhash64

pytestmark = pytest.mark.spark

TEXTS = [None, "", "böb", "日本語", *("0123456789abcdef" * 7)[:0], *map(str, range(20))]
EVERY_LENGTH = [("x1ñ" * 40)[:size] for size in range(100)]


def spark_says(spark, texts: list[str | None], *before: str) -> list[int]:
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    hashed = F.xxhash64(*map(F.lit, before), "text")
    return [row[0] for row in frame.select(hashed).collect()]


@pytest.mark.parametrize(
    "before", [(), ("fold",), ("validation", "a longer text than one stripe of 32 bytes")]
)
def test_hashes_are_those_of_spark(spark, before):
    texts = [*TEXTS, *EVERY_LENGTH]
    assert xxhash64(pa.array(texts), *before).tolist() == spark_says(spark, texts, *before)


def test_a_slice_of_an_array_has_the_hashes_of_its_own_texts():
    whole = pa.array([*TEXTS, *EVERY_LENGTH])
    np.testing.assert_array_equal(xxhash64(whole.slice(3, 50)), xxhash64(whole)[3:53])


def test_no_texts_have_no_hashes():
    assert xxhash64(pa.array([], pa.string())).tolist() == []
    assert xxhash64(pa.nulls(2, pa.string())).tolist() == [42, 42]
