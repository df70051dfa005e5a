from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.contexts import known_contexts
from jobs.cooccurrence import neighbours
from jobs.counts import TABLE, as_rows, counts_of, made_by
from models.cooccurrence import Counting
from schemas.contract import contract

pytestmark = pytest.mark.spark

T1 = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
COUNTING = Counting(gap_minutes=30.0, window=3, fading=0.5, most_a_day=30)


def plays(first: datetime, last: datetime, seed: int, users: int = 8) -> list[dict]:
    """Users who never rest longer than half an hour at a time, so that sessions cross midnight."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        at = first
        while (at := at + timedelta(minutes=float(rng.exponential(25)))) < last:
            name = f"{seed}-{user}-{len(rows)}"
            late = timedelta(hours=float(rng.exponential(3)))
            rows.append(
                {
                    "event_id": name,
                    "user_id": f"u{user}",
                    "item_id": f"t{int(rng.integers(0, 9))}",
                    "item_kind": "track",
                    "played_at": at,
                    "ms_played": int(rng.integers(0, 60_000)),
                    "ingested_at": at + late,
                }
            )
    return rows


@pytest.fixture
def delivered(lake):
    """A function that adds plays and opens a batch over all that are there."""

    def deliver(rows: list[dict], as_of: datetime):
        if rows:
            lake.append(
                "listens", pa.Table.from_pylist(rows, schema=contract("listens").arrow_schema)
            )
        return lake.batches.open(as_of, {"listens": lake.open("listens").version()}, "s", "v")

    return deliver


@pytest.fixture
def counted(spark, lake):
    """A function that counts for a batch and keeps it as the job does."""

    def count(batch, counting=COUNTING, state="candidate"):
        found, before = counts_of(spark, lake, batch, counting)
        rows = found.toArrow()
        own = rows.add_column(0, "batch_id", pa.array([batch.batch_id] * len(rows)))
        agreed = contract(TABLE).arrow_schema
        lake.append(TABLE, own.select(agreed.names).cast(agreed))
        lake.batches.record(
            batch.batch_id,
            tables={TABLE: lake.open(TABLE).version()},
            recipe={TABLE: made_by(batch, counting)},
            state=state,
        )
        return rows.sort_by("item_key"), before

    return count


@pytest.fixture
def from_nothing(spark, lake):
    """A function that counts everything that a batch knows."""

    def count(batch, counting=COUNTING):
        contexts = known_contexts(spark, lake, batch)
        return as_rows(neighbours(contexts, counting)).toArrow().sort_by("item_key")

    return count


def test_counts_of_three_days_in_turn_are_those_of_a_full_rebuild(delivered, counted, from_nothing):
    first = delivered(plays(T1 - 4 * DAY, T1, seed=0), T1)
    assert counted(first)[1] is None
    # The next delivery has plays of the day before, learned after the moment or delivered late.
    second = delivered(plays(T1 - DAY, T1 + DAY, seed=1), T1 + DAY)
    rows, before = counted(second)
    assert before == first.batch_id
    assert rows.equals(from_nothing(second))
    third = delivered(plays(T1 - 3 * DAY, T1 - 2 * DAY, seed=2, users=1), T1 + DAY)
    rows, before = counted(third)
    assert before == second.batch_id
    assert rows.equals(from_nothing(third))
    assert not rows.equals(from_nothing(second))


def test_without_news_counts_are_taken_over(delivered, counted):
    rows = plays(T1 - 2 * DAY, T1, seed=0)
    learned = [{**row, "ingested_at": row["played_at"]} for row in rows]
    first, _ = counted(delivered(learned, T1))
    again, before = counted(delivered([], T1))
    assert before is not None
    assert again.equals(first)


def test_a_batch_that_came_to_nothing_is_not_gone_on_from(delivered, counted):
    counted(delivered(plays(T1 - DAY, T1, seed=0), T1), state="failed")
    assert counted(delivered([], T1))[1] is None


def test_with_other_settings_everything_is_counted(delivered, counted, from_nothing):
    rows = plays(T1 - DAY, T1, seed=0)
    counted(delivered(rows, T1))
    wider = replace(COUNTING, window=5)
    batch = delivered([], T1)
    found, before = counted(batch, wider)
    assert before is None
    assert found.equals(from_nothing(batch, wider))


@pytest.mark.parametrize("counting", [{"gap_minutes": None}, {"window": 49}])
def test_pairs_that_reach_beyond_a_day_are_all_counted_anew(delivered, counted, counting):
    far = replace(COUNTING, **counting)
    counted(delivered(plays(T1 - DAY, T1, seed=0), T1), far)
    assert counted(delivered([], T1), far)[1] is None


def test_after_an_erasure_everything_is_counted(lake, delivered, counted, from_nothing):
    first = delivered(plays(T1 - 2 * DAY, T1, seed=0), T1)
    counted(first)
    table = lake.open("listens")
    table.delete("user_id = 'u0'")
    # As `tasteprint forget` leaves it: the older batch reads the version without the person, too.
    lake.batches.record(first.batch_id, parents={"listens": lake.open("listens").version()})
    second = delivered([], T1)
    rows, before = counted(second)
    assert before is None
    assert rows.equals(from_nothing(second))


def test_playlists_are_counted_again_as_they_are_now(lake, delivered, counted, from_nothing):
    def put(position: int, item: str) -> dict:
        row = {"playlist_id": "p", "position": position, "item_id": item, "user_id": "u0"}
        return row | {"added_at": T1 - DAY}

    def opened(entries: list[dict]):
        agreed = contract("playlists").arrow_schema
        write_deltalake(
            lake.ensure("playlists"), pa.Table.from_pylist(entries, agreed), mode="overwrite"
        )
        parents = {table: lake.open(table).version() for table in ("listens", "playlists")}
        return lake.batches.open(T1, parents, "s", "v")

    delivered(plays(T1 - DAY, T1, seed=0), T1)
    first = opened([put(0, "t0"), put(1, "new"), put(2, "newer")])
    rows, _ = counted(first)
    second = opened([put(0, "t0"), put(1, "newest")])
    again, before = counted(second)
    assert before == first.batch_id
    assert again.equals(from_nothing(second))
    assert (len(rows), len(again)) == (11, 10)


def test_an_item_counts_before_the_catalogue_knows_it(delivered, counted):
    rows, _ = counted(delivered(plays(T1 - DAY, T1, seed=0), T1))
    assert len(rows) == 9
