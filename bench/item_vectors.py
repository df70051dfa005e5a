r"""What item vectors find of held-out plays, ours beside gensim, implicit, SciPy and popularity.

::

    python bench/item_vectors.py --data DIR

``DIR`` holds ``thirtymusic_histories`` and ``aotm_playlists``. Histories: each user's last fifth of
the plays is held out, the query is the mean of the ten plays before it. Playlists: a tenth of them
is held out, and the last track is asked for by the mean of the others (``evaluation/held_out.py``).
Each peer first tries every setting of its grid on a validation split of what may be learned from,
and is tested with the best by hit@10. Ours is the job as it ships, with its defaults, on a Spark of
this machine; no default was chosen on the test queries. Prints one JSON line per peer, data set and
repeat.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit and gensim have threads of their own

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql.pandas.types import from_arrow_schema
from scipy import sparse
from session import said, spark_here

from evaluation.held_out import Split, found, found_by_popularity, last_of_some, last_plays
from jobs.build_track_vectors import BuildTrackVectors, item_vectors
from jobs.contexts import of_listens
from jobs.cooccurrence import WHOLE, neighbours
from jobs.counts import as_rows
from models.layout import VECTOR_SIZE
from schemas.arrow import matrix
from schemas.contract import contract
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import SparkSession

HISTORIES, PLAYLISTS = "thirtymusic_histories", "aotm_playlists"
TESTED = 0.1  # share of the playlists that is held out for the test, and again for choosing
CORES = os.cpu_count() or 1
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


class ItemVectors(Settings):
    """Compare item vectors by what they find of held-out plays."""

    data: str
    """Folder of the data sets."""
    sets: tuple[Literal["thirtymusic_histories", "aotm_playlists"], ...] = (HISTORIES, PLAYLISTS)
    """Data sets to measure on."""
    peers: tuple[Literal["ppmi", "als", "gensim", "ours"], ...] = (
        *("ppmi", "als", "gensim", "ours"),
    )
    """Whom to measure; popularity always is."""
    repeats: int = 3
    """Runs of each, with another seed each time."""
    validation: bool = False
    """Measure on the validation split, for choosing; the test queries are not looked at."""


def histories(data: Path, validation: bool) -> tuple[Split, np.ndarray | None]:  # noqa: FBT001
    """Users' last plays held out, and the creator of each item."""
    plays = pq.read_table(data / HISTORIES / "listens.parquet")
    plays = plays.sort_by([("user_id", "ascending"), ("position", "ascending")])
    user, item = plays["user_id"].to_numpy(), plays["track_id"].to_numpy()
    if validation:
        rank = np.arange(len(user)) - np.searchsorted(user, user)
        earlier = rank < np.floor(np.bincount(user)[user] * 0.8)
        user, item = user[earlier], item[earlier]
    split = last_plays(user, item, share=0.2)
    tracks = pq.read_table(data / HISTORIES / "tracks.parquet").to_pandas()
    creator = tracks.set_index("track_id")["artist_id"]
    return split, creator.loc[split.items].to_numpy()


def playlists(data: Path, validation: bool) -> tuple[Split, np.ndarray | None]:  # noqa: FBT001
    """A tenth of the playlists held out; nothing tells a track's creator."""
    rows = pq.read_table(data / PLAYLISTS / "playlists.parquet")
    rows = rows.sort_by([("playlist_id", "ascending"), ("position", "ascending")])
    context, item = rows["playlist_id"].to_numpy(), rows["track_id"].to_numpy()
    ids, place = np.unique(context, return_inverse=True)
    drawn = np.random.default_rng(0).random(len(ids))[place]
    if validation:
        context, item, drawn = (part[drawn >= TESTED] for part in (context, item, drawn))
    return last_of_some(context, item, drawn < (2 * TESTED if validation else TESTED)), None


LOADERS = {HISTORIES: histories, PLAYLISTS: playlists}


def plays_of(split: Split) -> sparse.csr_matrix:
    """How often each user played each item, (users, items) float32."""
    users, user = np.unique(split.user, return_inverse=True)
    cells = (np.ones(len(user), np.float32), (user, split.item))
    return sparse.csr_matrix(cells, shape=(len(users), len(split.items)))


def als(split: Split, seed: int, *, alpha: float, regularization: float) -> np.ndarray:
    """Hu, Koren and Volinsky's implicit ALS over user x item."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        VECTOR_SIZE,
        alpha=alpha,
        regularization=regularization,
        iterations=15,
        random_state=seed,
        num_threads=CORES,
    )
    model.fit(plays_of(split), show_progress=False)
    return np.asarray(model.item_factors)


def gensim(split: Split, seed: int, *, epochs: int, window: int, ns_exponent: float) -> np.ndarray:
    """Skip-gram with negative sampling over each user's plays as a sentence."""
    from gensim.models import Word2Vec

    ends = np.flatnonzero(np.diff(split.user)) + 1
    sentences = [part.astype(str).tolist() for part in np.split(split.item, ends)]
    model = Word2Vec(
        sentences,
        vector_size=VECTOR_SIZE,
        window=window,
        min_count=1,
        sg=1,
        negative=10,
        ns_exponent=ns_exponent,
        epochs=epochs,
        seed=seed + 1,
        workers=CORES,
    )
    return model.wv[[str(item) for item in range(len(split.items))]]


def ppmi(split: Split, seed: int, *, window: int, power: float, weight: float) -> np.ndarray:
    """Positive PMI of neighbours within a window, by a randomized SVD with one power iteration."""
    from sklearn.utils.extmath import randomized_svd

    size = len(split.items)
    counts = sparse.csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, window + 1):
        left, right = split.item[:-distance], split.item[distance:]
        met = (split.user[:-distance] == split.user[distance:]) & (left != right)
        cells = (np.full(met.sum(), 1 / distance, np.float32), (left[met], right[met]))
        counts += sparse.csr_matrix(cells, shape=(size, size))
    cells = (counts + counts.T).tocoo()
    total = np.asarray(cells.sum(axis=1)).ravel()
    smooth = total**power
    value = np.log(cells.data * smooth.sum() / (total[cells.row] * smooth[cells.col]))
    kept = value > 0
    matrix = sparse.csr_matrix(
        (value[kept], (cells.row[kept], cells.col[kept])), shape=(size, size)
    )
    left, scale, _ = randomized_svd(matrix, VECTOR_SIZE, n_iter=1, random_state=seed)
    return left * scale**weight


def ours(split: Split, seed: int, *, spark: SparkSession, creator: np.ndarray | None) -> np.ndarray:
    """The job's own way from plays to vectors, with its defaults."""
    user, item = split.user, split.item
    last = np.searchsorted(user, user, side="right") - 1
    minutes = (last - np.arange(len(user))).astype(np.int64)  # one play a minute, in order
    at = np.int64(AS_OF.timestamp() * 1e6) - (minutes + 1) * 60_000_000
    listens = {
        "event_id": pa.array(np.arange(len(user))).cast(pa.string()),
        "user_id": pa.array(user).cast(pa.string()),
        "item_id": pa.array(item).cast(pa.string()),
        "item_kind": pa.array(["track"] * len(user)),
        "played_at": pa.array(at).cast(pa.timestamp("us", "UTC")),
    }
    listens["ingested_at"] = listens["played_at"]
    items = {"item_id": pa.array(np.arange(len(split.items))).cast(pa.string())}
    if creator is not None:
        items["creator_id"] = pa.array(creator).cast(pa.string())
    args = BuildTrackVectors(lakehouse="-", batch_id="-", seed=seed)
    frames = [_frame(spark, "listens", listens), _frame(spark, "items", items)]
    plays = of_listens(frames[0])
    counts = as_rows(neighbours(plays, args.counting(plays))).persist()
    found = item_vectors(plays, frames[1], counts, args).where(f"fold = {WHOLE}")
    table = found.select("item_id", "vector").toArrow()
    out = np.zeros((len(split.items), VECTOR_SIZE), np.float32)
    out[table["item_id"].cast(pa.int64()).to_numpy()] = matrix(table["vector"])
    spark.catalog.clearCache()
    return out


def _frame(spark: SparkSession, table: str, columns: dict[str, pa.Array]) -> Any:
    schema = contract(table).arrow_schema
    rows = len(next(iter(columns.values())))
    whole = {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in schema}
    if table == "items":
        whole["kind"] = pa.array(["track"] * rows)
    return spark.createDataFrame(pa.table(whole, schema=schema), from_arrow_schema(schema))


GRIDS: dict[str, tuple[Callable[..., np.ndarray], list[dict[str, float]]]] = {
    "als": (
        als,
        [
            {"alpha": alpha, "regularization": regularization}
            for alpha in (10.0, 40.0, 100.0)
            for regularization in (1.0, 10.0)
        ],
    ),
    "gensim": (
        gensim,
        [{"epochs": epochs, "window": 10, "ns_exponent": 0.75} for epochs in (10, 30)],
    ),
    "ppmi": (
        ppmi,
        [
            {"window": window, "power": power, "weight": weight}
            for window in (10, 30)
            for power in (0.75, 1.0)
            for weight in (0.0, 0.5)
        ],
    ),
}


def best(peer: str, split: Split) -> dict[str, float]:
    """The setting of the grid that finds most at 10."""
    way, grid = GRIDS[peer]
    scored = []
    for setting in grid:
        score = found(way(split, 0, **setting), split)["hit@10"]
        scored.append((score, setting))
        said(**{"peer": peer, "validation hit@10": score, **setting})
    return max(scored, key=lambda pair: pair[0])[1]


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Measure every peer on every data set."""
    args = ItemVectors.parse(argv)
    ours_too = "ours" in args.peers
    spark = spark_here("bench", CORES, **{"spark.driver.memory": "4g"}) if ours_too else None
    for name in args.sets:
        if not (Path(args.data) / name).exists():
            said(data=name, skipped=f"{args.data} has no {name}")
            continue
        split, creator = LOADERS[name](Path(args.data), args.validation)
        for peer in args.peers:
            way, setting = contestant(args, name, peer, creator, spark)
            for repeat in range(args.repeats):
                began = time.monotonic()
                vectors = way(split, repeat)
                seconds = round(time.monotonic() - began, 1)
                line = {"data": name, "peer": peer, "repeat": repeat, **setting}
                line |= found(vectors, split) | {"seconds": seconds}
                said(**line, queries=len(split.queries))
        said(data=name, peer="popularity", **found_by_popularity(split))


def contestant(
    args: ItemVectors,
    name: str,
    peer: str,
    creator: np.ndarray | None,
    spark: SparkSession | None,
) -> tuple[Callable[[Split, int], np.ndarray], dict[str, float]]:
    """How a peer makes vectors of a split for a seed, and the setting that it uses."""
    if peer == "ours":
        return partial(ours, spark=spark, creator=creator), {}
    setting = best(peer, LOADERS[name](Path(args.data), True)[0])
    return partial(GRIDS[peer][0], **setting), setting


if __name__ == "__main__":
    main()
