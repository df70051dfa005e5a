import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.blocks import FEW_WORDS, packed, unpacked

USERS = st.sampled_from(["ann", "böb", "cy", "dee", ""])
ROWS = st.lists(
    st.tuples(USERS, st.integers(-5, 5), st.sampled_from(["home", "", None]), st.booleans()),
    min_size=1,
    max_size=40,
)


def table(rows: list[tuple]) -> pa.Table:
    """Rows of users, each in the bucket of his name."""
    users = [row[0] for row in rows]
    columns = {
        "bucket": pa.array([len(user) * 7 % 5 for user in users], pa.int32()),
        "user_id": pa.array(users),
        "number": pa.array([row[1] for row in rows], pa.int64()),
        "word": pa.array([row[2] for row in rows], pa.string()),
        "list": pa.array([[row[1]] if row[3] else None for row in rows], pa.list_(pa.int64())),
    }
    return pa.table(columns)


def arrived(*tables: pa.Table) -> dict[int, list[dict]]:
    """Rows by bucket, after all blocks of all tables have met."""
    blocks = [block for rows in tables for block in packed(rows, "plays")]
    buckets = sorted({block["bucket"][0].as_py() for block in blocks})
    return {
        bucket: unpacked(block for block in blocks if block["bucket"][0].as_py() == bucket)[
            "plays"
        ].to_pylist()
        for bucket in buckets
    }


@given(ROWS, ROWS)
def test_every_row_arrives_once_in_its_bucket(first, second):
    found = arrived(table(first), table(second))
    sent = table(first).to_pylist() + table(second).to_pylist()
    for bucket, rows in found.items():
        own = [{name: row[name] for name in rows[0]} for row in sent if row["bucket"] == bucket]
        assert sorted(rows, key=str) == sorted(own, key=str)
    assert sum(map(len, found.values())) == len(sent)


def test_a_bucket_of_one_task_is_one_block():
    rows = table([("ann", n, "home", True) for n in range(9)] + [("dee", 1, None, False)])
    assert len(list(packed(rows, "plays"))) == 1


def test_a_block_names_its_own_users_alone():
    rows = table([("ann", 1, "home", True), ("cy", 2, "home", True)])
    sizes = [
        len(unpacked([block])["plays"]["user_id"].combine_chunks().dictionary)
        for block in packed(rows, "plays")
    ]
    assert sizes == [1, 1]


def test_many_words_are_sent_to_those_buckets_alone_that_have_them():
    count = 4 * FEW_WORDS
    rows = pa.table(
        {
            "bucket": pa.array(np.arange(count) % 4, pa.int32()),
            "user_id": pa.array([f"u{n}" for n in range(count)]),
            "word": pa.array([f"w{n}" for n in range(count)]),
        }
    )
    for block in packed(rows, "plays"):
        words = unpacked([block])["plays"]["word"].combine_chunks()
        assert len(words.dictionary) == FEW_WORDS
        assert words[0].as_py() == f"w{block['bucket'][0].as_py()}"


@pytest.mark.spark
def test_the_blocks_of_spark_rows_are_of_so_many_rows_and_hold_them_all(spark, arrow_rows):
    from jobs.blocks import in_blocks

    arrow_rows(1_000)
    frame = spark.range(10_000, numPartitions=1).selectExpr(
        "cast(id % 3 as int) bucket", "cast(id % 3 as string) user_id", "id number"
    )
    blocks = in_blocks(frame, "plays", rows_at_once=4_000).toArrow()
    assert blocks.num_rows >= 6
    plays = unpacked(blocks.to_batches())["plays"]
    assert sorted(plays["number"].to_pylist()) == list(range(10_000))
