"""A refresh gives the rows of a full computation, and reads the plays of those with new ones."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from numpy.testing import assert_allclose

from jobs.build_features import main
from jobs.carry import touched_users
from jobs.cooccurrence import FOLDS
from lakehouse.storage import Lakehouse
from models.features import unit
from models.layout import VECTOR_SIZE
from schemas.arrow import list_column, matrix
from schemas.contract import contract

pytestmark = pytest.mark.spark

T1 = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
T2, T3 = T1 + DAY, T1 + 330 * DAY  # the year, and with it somebody's age band, is another at T3
TOLERANCE = 1e-6
ITEMS = [f"t{number}" for number in range(12)]
VECTORS = unit(np.random.default_rng(0).standard_normal((12, VECTOR_SIZE)).astype(np.float32))
STILL = [f"still {number}" for number in range(6)]


def plays(user: str, count: int, end: datetime, learned: datetime | None = None) -> list[dict]:
    """Plays of some items, the last one an hour before the end."""
    rng = np.random.default_rng(sum(map(ord, user)) + count)
    ages = np.sort(rng.exponential(20, count))
    ages[0] = 1 / 24
    return [
        {
            "event_id": f"{user}-{end:%j}-{number}",
            "user_id": user,
            "item_id": ITEMS[int(rng.integers(0, 12))],
            "item_kind": "track",
            "played_at": (at := end - timedelta(days=float(age))),
            "ms_played": int(rng.integers(0, 60_000)),
            "surface": str(rng.choice(["home", "search"])),
            "device": "phone",
            "ingested_at": learned or at,
        }
        for number, age in enumerate(ages)
    ]


EARLY = [
    *(play for user in STILL for play in plays(user, 40, T1 - 5 * DAY)),
    *plays("active", 30, T1),
    *plays("late", 5, T1 - DAY),
    *plays("backfilled", 5, T1 - DAY),
    *plays("changed", 7, T1 - 3 * DAY),
    *plays("picker", 7, T1 - 3 * DAY),
    # Delivered long before it was to be known.
    *plays("embargoed", 4, T1 - 9 * DAY, learned=T2 - DAY / 2),
]
NEWS = [
    *plays("active", 3, T2),
    *plays("late", 2, T1 - 40 * DAY, learned=T2 - DAY / 4),
    *plays("backfilled", 2, T1 - 60 * DAY),
    *plays("new", 3, T2),
    *plays("stranger", 3, T2),
]
USERS = [
    {"user_id": "still 0", "birth_year": 2002, "registered_at": T1 - 200 * DAY},
    {"user_id": "changed", "country": "SE", "birth_year": 1960},
    {"user_id": "silent", "birth_year": 2002},
    {"user_id": "later", "registered_at": T1 + DAY / 2, "country": "DE"},
]
CHANGED = [
    {**USERS[1], "country": "DE", "birth_year": 1990},
    {"user_id": "new", "country": "SE", "registered_at": T1 + DAY / 3},
]
ONBOARDING = [
    {"user_id": "silent", "picked_id": "t1", "picked_kind": "item", "picked_at": T1 - DAY},
    {"user_id": "picker", "picked_id": "t2", "picked_kind": "item", "picked_at": T1 + DAY / 2},
    {
        "user_id": "only picks",
        "picked_id": "c1",
        "picked_kind": "creator",
        "picked_at": T1 + DAY / 2,
    },
]


def rows(table: str, values: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(values, schema=contract(table).arrow_schema)


def pins(lake: Lakehouse) -> dict[str, int]:
    tables = ("listens", "users", "onboarding", "items")
    return {table: lake.open(table).version() for table in tables}


def built(lake: Lakehouse, batch_id: str, *flags: str) -> None:
    main(["--lakehouse", lake.uri, "--batch-id", batch_id, *flags])


def refreshed(
    lake: Lakehouse, batch_id: str, moment: datetime, buckets: int
) -> dict[str, pa.Table]:
    """Both tables after a refresh, sorted by user, which is kept.

    With other buckets than before, everybody is computed.
    """
    lake.batches.begin_refresh(batch_id, moment, pins(lake))
    built(lake, batch_id, "--buckets", str(buckets))
    whole = lake.batches.end_refresh(batch_id, keep=True)
    return {
        table: lake.read(table, whole).sort_by("user_id")
        for table in ("user_features", "user_sequences")
    }


def plays_read(lake: Lakehouse) -> int:
    """By the newest run of the job."""
    steps = lake.open("steps").to_pyarrow_table().to_pylist()
    return max(
        (row for row in steps if row["step"] == "features"), key=lambda row: row["finished_at"]
    )["rows_in"]


@pytest.fixture(scope="module")
def served(tmp_path_factory, shared_session):
    """A live batch as of T1, and what has come since."""
    shared_session("build_features")
    lake = Lakehouse(str(tmp_path_factory.mktemp("served") / "lake"))
    catalogue = [
        {"item_id": item, "kind": "track", "creator_id": f"c{number // 3}", "duration_ms": 60_000}
        for number, item in enumerate(ITEMS)
    ]
    for table, values in {"items": catalogue, "users": USERS, "onboarding": ONBOARDING}.items():
        lake.append(table, rows(table, values))
    lake.append("listens", rows("listens", EARLY))
    lake.append("listens", rows("listens", plays("leaver", 6, T1 - DAY)))
    batch = lake.batches.open(T1, pins(lake), "s", "v")
    for table, folds in (("track_vectors", [{}]), ("training_vectors", range(FOLDS))):
        of_fold = [{} if table == "track_vectors" else {"fold": fold} for fold in folds]
        values = [
            {"batch_id": batch.batch_id, "item_id": item, "vector": vector, **fold}
            | {"support": 1, "source": "blend"}
            for fold in of_fold
            for item, vector in zip(ITEMS, list_column(VECTORS).to_pylist(), strict=True)
        ]
        lake.append(table, rows(table, values))
        lake.batches.record(batch.batch_id, tables={table: lake.open(table).version()})
    built(lake, batch.batch_id, "--buckets", "3")
    lake.batches.record(batch.batch_id, state="candidate")
    lake.batches.promote(batch.batch_id)
    lake.append("listens", rows("listens", NEWS))
    kept = [row for row in USERS if row["user_id"] != "changed"]
    write_deltalake(lake.open("users"), rows("users", kept + CHANGED), mode="overwrite")
    lake.open("listens").delete("user_id = 'leaver'")
    return lake, batch.batch_id


def assert_same(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for table, numbers in (("user_features", ("features", "present")), ("user_sequences", ())):
        ours, theirs = found[table], expected[table]
        assert ours["user_id"].to_pylist() == theirs["user_id"].to_pylist()
        for name in set(ours.column_names) - {"bucket", *numbers}:
            assert ours[name].to_pylist() == theirs[name].to_pylist(), name
        for name in numbers:
            assert_allclose(matrix(ours[name]), matrix(theirs[name]), atol=TOLERANCE, rtol=0)


def test_a_refresh_that_reads_news_alone_gives_the_rows_of_a_full_one(served):
    lake, batch_id = served
    carried = refreshed(lake, batch_id, T2, buckets=3)
    touched = {row["user_id"] for row in NEWS} | {"embargoed"}
    of_touched = [row for row in EARLY + NEWS if row["user_id"] in touched]
    assert plays_read(lake) == len(of_touched) < len(EARLY + NEWS)
    again = refreshed(lake, batch_id, T3, buckets=3)
    assert plays_read(lake) == 0
    whole = refreshed(lake, batch_id, T3, buckets=2)
    assert plays_read(lake) == len(EARLY + NEWS)
    assert_same(again, whole)

    users = carried["user_features"]["user_id"].to_pylist()
    assert users == sorted({*STILL, *touched, "changed", "picker", "silent", "later", "only picks"})


def test_everybody_is_computed_where_rows_do_not_follow_from_the_rows_before(served, spark):
    lake, batch_id = served
    before = lake.batches.get(batch_id)
    settings = before.recipe["features"]
    items = lake.read("items", before).to_pylist()
    items[0]["creator_id"] = "c3"
    write_deltalake(lake.open("items"), rows("items", items), mode="overwrite")
    others = {
        "an earlier moment": (before, before.changed(as_of=before.as_of - DAY), settings),
        "other buckets": (before, before, settings | {"buckets": 99}),
        "longer sequences": (before, before, settings | {"sequence_length": 1}),
        "no sequences yet": (
            before.changed(
                tables={name: v for name, v in before.tables.items() if name != "user_sequences"}
            ),
            before,
            settings,
        ),
        "another creator of an item": (before, before.changed(parents=pins(lake)), settings),
    }
    found = {name: touched_users(spark, lake, *given) for name, given in others.items()}
    assert found == dict.fromkeys(others)
    nobody = touched_users(spark, lake, before, before, settings)
    assert nobody.count() == 0
