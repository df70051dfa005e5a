from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from jobs.build_features import main
from jobs.cooccurrence import FOLDS
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from models.features import unit
from models.layout import VECTOR_SIZE, FeatureLayout
from schemas.arrow import list_column, matrix
from schemas.contract import contract

pytestmark = pytest.mark.spark

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
IDS = [f"t{number}" for number in range(6)]  # creator of each: c0 c0 c1 c1 None None
CREATORS = ["c0", "c0", "c1", "c1", None, None]
WHOLE_VECTORS = unit(np.random.default_rng(0).standard_normal((6, VECTOR_SIZE)).astype(np.float32))
FOLD_VECTORS = unit(np.random.default_rng(1).standard_normal((6, VECTOR_SIZE)).astype(np.float32))


def play(user: str, item: str, before: timedelta, learned: timedelta | None = None, **rest) -> dict:
    """A play so long before the batch's moment, learned of so long before it."""
    at, known = AS_OF - before, AS_OF - (before if learned is None else learned)
    row = {"event_id": f"{user}-{item}-{before}", "user_id": user, "item_id": item}
    return row | {"item_kind": "track", "played_at": at, "ingested_at": known} | rest


LISTENS = [
    play("listener", "t0", 9 * DAY, surface="home"),
    play("listener", "t1", 8 * DAY, surface="search", device="phone"),
    play("listener", "t2", 2 * DAY, ms_played=1_000),
    # Learned of only at or after the moment, or played then.
    play("listener", "t3", 1 * DAY, learned=-HOUR),
    play("listener", "t4", 0 * DAY),
    play("listener", "t5", -1 * DAY),
    play("unregistered", "t2", 5 * DAY),
    play("unregistered", "gone", 4 * DAY),  # of an item that has no vector
    play("later", "t0", -1 * DAY),
]
USERS = [
    {"user_id": "listener", "country": "SE", "birth_year": 1990, "registered_at": AS_OF - 99 * DAY},
    {"user_id": "picker", "registered_at": AS_OF - DAY},
    {"user_id": "silent"},
    {"user_id": "not yet", "registered_at": AS_OF + DAY},
]
ONBOARDING = [
    {"user_id": "picker", "picked_id": "t4", "picked_kind": "item", "picked_at": AS_OF - HOUR},
    {"user_id": "picker", "picked_id": "c1", "picked_kind": "creator", "picked_at": AS_OF - HOUR},
    {"user_id": "picker", "picked_id": "t0", "picked_kind": "item", "picked_at": AS_OF + HOUR},
]
ITEMS = [
    {"item_id": item, "kind": "track", "creator_id": who}
    for item, who in zip(IDS, CREATORS, strict=True)
]
FOLD_WITHOUT_VECTORS = 4  # as where all plays come from its users; the listener is of another
KNOWN_USERS = ["listener", "picker", "silent", "unregistered"]


def appended(lake: Lakehouse, table: str, rows: list[dict]) -> int:
    lake.append(table, pa.Table.from_pylist(rows, schema=contract(table).arrow_schema))
    return lake.open(table).version()


def vector_rows(batch_id: str, vectors: np.ndarray, **rest) -> list[dict]:
    return [
        {"batch_id": batch_id, "item_id": item, "vector": row, "support": 1, "source": "blend"}
        | rest
        for item, row in zip(IDS, list_column(vectors).to_pylist(), strict=True)
    ]


def opened(lake: Lakehouse) -> str:
    """A batch of a lakehouse of six plays, whose item vectors are published."""
    inputs = {"listens": LISTENS, "users": USERS, "onboarding": ONBOARDING, "items": ITEMS}
    parents = {table: appended(lake, table, rows) for table, rows in inputs.items()}
    registry = BatchRegistry(lake)
    batch_id = registry.open(AS_OF, parents, "s", "v").batch_id
    held_out = [
        row
        for fold in range(FOLDS)
        if fold != FOLD_WITHOUT_VECTORS
        for row in vector_rows(batch_id, FOLD_VECTORS, fold=fold)
    ]
    tables = {
        "track_vectors": appended(lake, "track_vectors", vector_rows(batch_id, WHOLE_VECTORS)),
        "training_vectors": appended(lake, "training_vectors", held_out),
    }
    registry.record(batch_id, tables=tables)
    return batch_id


def read(lake: Lakehouse, batch_id: str, table: str) -> pa.Table:
    key = [(name, "ascending") for name in contract(table).key]
    return lake.read(table, BatchRegistry(lake).get(batch_id)).sort_by(key)


class Built:
    """The two tables of a batch, and its layout."""

    def __init__(self, lake: Lakehouse, batch_id: str) -> None:
        self.features = read(lake, batch_id, "user_features")
        self.examples = read(lake, batch_id, "training_examples")
        self.sequences = read(lake, batch_id, "user_sequences")
        self.layout = FeatureLayout.model_validate_json(BatchRegistry(lake).get(batch_id).layout)

    def row(self, user: str) -> dict:
        found = [row for row in self.features.to_pylist() if row["user_id"] == user]
        assert len(found) == 1
        return found[0]

    def group(self, row: dict, name: str) -> np.ndarray:
        return np.array(row["features"])[self.layout[name].slice]

    def known(self, row: dict) -> set[str]:
        return {name for name, bit in zip(self.layout.names, row["present"], strict=True) if bit}


def test_the_job_run_twice_gives_every_row_once_and_the_same(lake, shared_session):
    shared_session("build_features")
    batch_id = opened(lake)
    runs = []
    for buckets in ("2", "3"):
        main(["--lakehouse", lake.uri, "--batch-id", batch_id, "--buckets", buckets])
        runs.append(Built(lake, batch_id))
    for table in ("features", "examples", "sequences"):
        first, again = (getattr(run, table) for run in runs)
        rest = [name for name in first.column_names if name not in ("features", "bucket")]
        assert first.select(rest).equals(again.select(rest))
        if table != "sequences":
            assert_allclose(matrix(first["features"]), matrix(again["features"]), atol=1e-5)
    assert runs[0].layout == runs[1].layout

    # One run of the job takes seconds: what it published is looked at here, sentence by sentence.
    for check in (
        everyone_known_by_the_moment_has_one_row,
        only_what_was_known_at_the_moment_counts,
        a_user_without_plays_has_what_he_picked,
        a_user_without_a_profile_has_his_plays,
        examples_stand_on_the_vectors_made_without_their_fold,
        everyone_who_has_played_has_a_sequence,
        the_layout_of_the_batch_says_the_units,
    ):
        check(runs[0])


def everyone_known_by_the_moment_has_one_row(built: Built) -> None:
    assert built.features["user_id"].to_pylist() == KNOWN_USERS
    assert set(built.features["as_of"].to_pylist()) == {AS_OF}
    assert set(built.features["bucket"].to_pylist()) <= {0, 1}
    assert built.known(built.row("silent")) == set()


def only_what_was_known_at_the_moment_counts(built: Built) -> None:
    row = built.row("listener")
    weight = np.array([1, 1, 1 / 10]) * 2 ** (-np.array([9, 8, 2]) / 30)
    expected = unit((weight @ WHOLE_VECTORS[:3])[None])[0]
    assert_allclose(built.group(row, "taste_30d"), expected, atol=1e-5)
    assert built.group(row, "amounts")[3] == pytest.approx(np.log1p(3))
    assert built.group(row, "country").tolist() == [1, 0]


def a_user_without_plays_has_what_he_picked(built: Built) -> None:
    row = built.row("picker")
    assert built.known(row) == {"onboarding", "account_age"}
    creator = unit((WHOLE_VECTORS[2] + WHOLE_VECTORS[3])[None])[0]
    expected = unit((WHOLE_VECTORS[4] + creator)[None])[0]
    assert_allclose(built.group(row, "onboarding"), expected, atol=1e-5)


def a_user_without_a_profile_has_his_plays(built: Built) -> None:
    row = built.row("unregistered")
    assert built.known(row) >= {"taste_7d", "taste_180d", "creators", "amounts", "hour"}
    assert built.known(row).isdisjoint({"country", "age", "account_age", "onboarding"})
    assert_allclose(built.group(row, "taste_7d"), WHOLE_VECTORS[2], atol=1e-5)
    assert built.group(row, "amounts")[3] == pytest.approx(np.log1p(2))


def examples_stand_on_the_vectors_made_without_their_fold(built: Built) -> None:
    made = [row for row in built.examples.to_pylist() if row["user_id"] == "listener"]
    assert [row["as_of"] for row in made] == [AS_OF - days * DAY for days in (9, 8, 2)]
    assert [row["targets"] for row in made] == [["t0", "t1", "t2"], ["t1", "t2"], ["t2"]]
    assert "taste_7d" not in built.known(made[0])
    assert_allclose(built.group(made[1], "taste_7d"), FOLD_VECTORS[0], atol=1e-5)
    assert sum(row["weight"] for row in made) == pytest.approx(1)


def everyone_who_has_played_has_a_sequence(built: Built) -> None:
    rows = built.sequences.to_pylist()
    assert [row["user_id"] for row in rows] == ["listener", "unregistered"]
    assert [row["item_ids"] for row in rows] == [["t0", "t1", "t2"], ["t2", "gone"]]
    assert rows[0]["gaps"] == [0, 86_400, 6 * 86_400]
    assert rows[0]["surfaces"] == ["home", "search", ""]
    assert {row["as_of"] for row in rows} == {AS_OF}


def the_layout_of_the_batch_says_the_units(built: Built) -> None:
    assert built.layout["amounts"].unit("log days since the last play") == "log(1 + days)"
    assert all(group.units for group in built.layout.groups)
