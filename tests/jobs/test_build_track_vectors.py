from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.build_track_vectors import BuildTrackVectors, item_vectors, main, texts_of
from jobs.contexts import of_listens
from jobs.cooccurrence import FOLDS, VARIANTS, WHOLE, neighbours
from jobs.counts import as_rows
from lakehouse.batches import BatchRegistry
from models.text import installed
from schemas.arrow import matrix
from schemas.contract import contract

pytestmark = pytest.mark.spark

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
USERS = 30

# Two camps: creators A and B are rock, C and D jazz; each has three items that are played.
CREATORS = {"A": "rock", "B": "rock", "C": "jazz", "D": "jazz"}
PLAYED = [(f"{creator.lower()}{number}", creator) for creator in CREATORS for number in range(3)]
ITEMS = [
    *({"item_id": item, "creator_id": who, "genres": [CREATORS[who]]} for item, who in PLAYED),
    {"item_id": "a9", "creator_id": "A", "genres": ["rock"]},  # by a known creator, never played
    {"item_id": "z0", "creator_id": "Z", "genres": ["jazz"]},  # by an unknown one, never played
    {"item_id": "x0"},  # of which nothing is known at all
]
TABLES = ("cooccurrence", "track_vectors", "training_vectors")
ROCK = {item for item, who in PLAYED if CREATORS[who] == "rock"}


def listen(
    number: int, user: int, item: str, at: datetime, learned: datetime | None = None
) -> dict:
    row = {"event_id": f"e{number:05d}", "user_id": f"u{user:02d}", "item_id": item}
    return row | {"item_kind": "track", "played_at": at, "ingested_at": learned or at}


def listens() -> list[dict]:
    """Users with even numbers play six rock items in a session, the others six of jazz."""
    rng = np.random.default_rng(0)
    camps = [sorted(ROCK), sorted({item for item, _ in PLAYED} - ROCK)]
    rows = []
    for user in range(USERS):
        for minute in range(8):
            at = AS_OF - timedelta(days=3) + timedelta(minutes=minute)
            item = camps[user % 2][int(rng.integers(0, 6))]
            rows.append(listen(len(rows), user, item, at))
    return rows


def table(name: str, rows: list[dict]) -> pa.Table:
    if name == "items":
        rows = [{"kind": "track", **row} for row in rows]
    return pa.Table.from_pylist(rows, schema=contract(name).arrow_schema)


@pytest.fixture(scope="module")
def vectors(spark) -> dict[int, dict[str, dict]]:
    """What the algorithm makes of the two camps: by fold and item."""
    frames = [
        spark.createDataFrame(
            table(name, rows).to_pandas(), from_arrow_schema(contract(name).arrow_schema)
        )
        for name, rows in (("listens", listens()), ("items", ITEMS))
    ]
    args = BuildTrackVectors(lakehouse="-", batch_id="-")
    plays = of_listens(frames[0])
    counts = as_rows(neighbours(plays, args.counting(plays)))
    found = item_vectors(plays, frames[1], counts, args).toArrow().to_pylist()
    return {
        fold: {row["item_id"]: row for row in found if row["fold"] == fold} for fold in VARIANTS
    }


def cosine(rows: dict[str, dict], left: str, right: str) -> float:
    return float(np.dot(rows[left]["vector"], rows[right]["vector"]))


def test_every_item_with_any_evidence_has_one_unit_vector(vectors):
    assert set(vectors[WHOLE]) == {row["item_id"] for row in ITEMS} - {"x0"}
    for rows in vectors.values():
        lengths = [np.linalg.norm(row["vector"]) for row in rows.values()]
        assert_allclose(lengths, 1, atol=1e-5)


def test_items_of_one_camp_are_nearer_to_each_other_than_to_the_other(vectors):
    rows = vectors[WHOLE]
    own = [cosine(rows, "a0", item) for item in ROCK]
    other = [cosine(rows, "a0", item) for item, _ in PLAYED if item not in ROCK]
    assert min(own) > max(other) + 0.3


def test_a_cold_item_lies_where_its_creator_does(vectors):
    rows = vectors[WHOLE]
    assert (rows["a9"]["source"], rows["a9"]["support"]) == ("content", 0)
    assert min(cosine(rows, "a9", item) for item in ROCK) > cosine(rows, "a9", "c0") + 0.3


def test_an_item_of_an_unknown_creator_lies_where_its_genre_does(vectors):
    rows = vectors[WHOLE]
    assert rows["z0"]["source"] == "content"
    assert cosine(rows, "z0", "c0") > cosine(rows, "z0", "a0") + 0.3


def test_support_counts_plays_and_each_fold_leaves_its_own_out(vectors):
    plays = listens()
    for item, _ in PLAYED:
        whole = sum(row["item_id"] == item for row in plays)
        assert vectors[WHOLE][item]["support"] == whole
        # Every play is left out of exactly one of the folds.
        kept = [vectors[fold].get(item, {"support": 0})["support"] for fold in range(FOLDS)]
        assert sum(kept) == (FOLDS - 1) * whole


def test_vectors_without_a_fold_are_others_in_the_same_space(vectors):
    for fold in range(FOLDS):
        left, whole = vectors[fold], vectors[WHOLE]
        pairs = [(left[item]["vector"], whole[item]["vector"]) for item in ROCK if item in left]
        assert any(not np.allclose(one, other, atol=1e-4) for one, other in pairs)
        assert min(np.dot(one, other) for one, other in pairs) > 0.5


@pytest.mark.skipif(not installed(), reason="the extra `text` is not installed")
@pytest.mark.parametrize(
    ("genres", "encoder", "read"),
    [
        (None, "auto", True),
        (["rock"], "auto", False),
        (["rock"], "packaged", True),
        (None, "none", False),
    ],
)
def test_texts_are_read_where_genres_are_few_or_they_are_asked_for(spark, genres, encoder, read):
    schema = "item_id string, genres array<string>, title string, creator_name string"
    rows = [("a", genres, "Blue", None, None), ("b", genres, None, None, None)]
    frame = spark.createDataFrame(rows, f"{schema}, description string")
    texts = texts_of(frame, encoder)
    assert (texts is not None) == read
    assert texts is None or [row["item_id"] for row in texts.collect()] == ["a"]


@pytest.fixture
def opened(lake):
    """A batch over the two camps, and over plays that it must not know of."""
    late, after = AS_OF + timedelta(minutes=1), AS_OF + timedelta(days=1)
    unknown = [
        *(listen(90_000 + n, n, "z0", AS_OF - timedelta(hours=1), learned=late) for n in range(9)),
        *(listen(91_000 + n, n, "z0", after) for n in range(9)),
    ]
    parents = {}
    for name, rows in (("items", ITEMS), ("listens", [*listens(), *unknown])):
        lake.append(name, table(name, rows))
        parents[name] = lake.open(name).version()
    return BatchRegistry(lake).open(AS_OF, parents, "s", "v")


def test_the_job_run_twice_publishes_each_row_once_and_the_same(lake, opened, shared_session):
    shared_session("build_track_vectors")
    seen = []
    for _ in range(2):
        main(["--lakehouse", lake.uri, "--batch-id", opened.batch_id])
        batch = BatchRegistry(lake).get(opened.batch_id)
        assert batch.gates == dict.fromkeys(TABLES, "passed")
        rows = lake.read("track_vectors", batch).sort_by("item_id")
        held_out = lake.read("training_vectors", batch).sort_by(
            [("fold", "ascending"), ("item_id", "ascending")]
        )
        seen.append((rows, held_out))
    for first, again in zip(*seen, strict=True):
        keys = [name for name in first.column_names if name != "vector"]
        assert first.select(keys).equals(again.select(keys))
        assert_allclose(matrix(first["vector"]), matrix(again["vector"]), atol=1e-5)
    rows = {row["item_id"]: row for row in seen[0][0].to_pylist()}
    assert len(rows) == seen[0][0].num_rows == len(ITEMS) - 1
    assert rows["z0"]["support"] == 0  # played after the moment, or learned of only then
    assert set(seen[0][1]["fold"].to_pylist()) == set(range(FOLDS))
