from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from jobs.blocks import PLAYS, unpacked
from jobs.build_features import bucket_of
from jobs.cooccurrence import fold_of
from jobs.played import COLUMNS, VALIDATION_PER_MILLE, Played
from jobs.shipping import save_ids
from schemas.contract import contract

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ITEMS = pa.array(["t0", "t1", "t3"])
BUCKETS = 5


def play(number: int, **changes) -> dict:
    row = {"event_id": f"e{number}", "user_id": f"u{number}", "item_id": "t0"}
    row |= {"item_kind": "track", "played_at": AS_OF - MINUTE, "ingested_at": AS_OF - MINUTE}
    return row | changes


def rows(plays: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(plays, schema=contract("listens").arrow_schema)


def coded(plays: list[dict]) -> pa.Table:
    """As ``jobs.parts`` reads them."""
    table = rows(plays).select(list(COLUMNS))
    columns = {name: table[name] for name in COLUMNS}
    return pa.table(
        {
            name: columns[name].dictionary_encode() if COLUMNS[name] else columns[name]
            for name in COLUMNS
        }
    )


@pytest.fixture
def played(tmp_path):
    """A reader of plays, for everybody or for those whose ids are given."""

    def made(users: list[str] | None = None, *, learned: bool = True) -> Played:
        known = users and save_ids(tmp_path / "users.arrow", pa.array(users))
        items = save_ids(tmp_path / "items.arrow", ITEMS)
        return Played(str(tmp_path / "lake"), AS_OF, BUCKETS, items, learned, known)

    return made


def test_a_play_is_known_if_it_happened_before_and_was_learned_by_the_moment(played):
    plays = [
        play(0),
        play(1, ingested_at=AS_OF),
        play(2, ingested_at=AS_OF + MINUTE),
        play(3, played_at=AS_OF, ingested_at=AS_OF),
        play(4, played_at=AS_OF + MINUTE, ingested_at=AS_OF - MINUTE),
    ]
    assert played().of(coded(plays))["user_id"].to_pylist() == ["u0", "u1"]


def test_an_item_is_its_index_or_the_id_of_one_without_a_vector(played):
    items = ["t3", "gone", "t0", "t2", "gone", "t1"]
    found = played().of(coded([play(n, item_id=item) for n, item in enumerate(items)]))
    assert found["item"].to_pylist() == [2, -1, 0, -1, -1, 1]
    assert found["item_id"].to_pylist() == [None, "gone", None, "t2", "gone", None]


def test_only_the_plays_of_wanted_users_are_read(played):
    plays = [play(0), play(1), play(2), play(3, user_id="u1")]
    found = played(["u1", "nobody"]).of(coded(plays))
    assert found["user_id"].to_pylist() == ["u1", "u1"]
    assert len(played(["nobody"]).of(coded(plays))) == 0


def test_both_clocks_are_in_microseconds_and_the_second_is_read_for_examples_alone(played):
    plays = coded([play(0, ingested_at=AS_OF)])
    (row,) = played().of(plays).to_pylist()
    now = round(AS_OF.timestamp()) * 1_000_000
    assert (row["at"], row["learned"]) == (now - 60_000_000, now)
    without = played(learned=False).of(plays)
    assert {"learned", "fold", "validation"}.isdisjoint(without.column_names)


@pytest.mark.spark
def test_plays_are_those_that_spark_would_have_selected(spark, played, tmp_path):
    """Bucket, fold, draw and tie are hashes that other parts of a job take in Spark."""
    plays = [play(n, user_id=f"u{n % 70}", item_id=f"t{n % 6}", surface="home") for n in range(300)]
    files = {}
    for name, some in (("a", plays[:99]), ("b", plays[99:])):
        pq.write_table(rows(some), tmp_path / name)
        files[str(tmp_path / name)] = 2**20
    blocks = played().blocks(spark, files).toArrow()
    found = [
        row | {"bucket": block["bucket"][0].as_py()}
        for block in blocks.to_batches(max_chunksize=1)
        for row in unpacked([block])[PLAYS].to_pylist()
    ]
    drawn = F.pmod(F.xxhash64(F.lit("validation"), "user_id"), F.lit(1000)) < VALIDATION_PER_MILLE
    expected = spark.createDataFrame([(row["event_id"], row["user_id"]) for row in plays]).toDF(
        "event_id", "user_id"
    )
    hashed = expected.select(
        "user_id",
        bucket_of(BUCKETS),
        fold_of().alias("fold"),
        drawn.alias("validation"),
        F.xxhash64("event_id").alias("tie"),
    )
    names = hashed.columns
    theirs = [tuple(row) for row in hashed.collect()]
    assert sorted(tuple(row[name] for name in names) for row in found) == sorted(theirs)
    assert {row["validation"] for row in found} == {True, False}


@pytest.mark.spark
def test_no_files_have_no_plays(spark, played):
    assert played().blocks(spark, {}).count() == 0
