"""The programs for one machine that ``bench/features.py`` runs beside the job, and their sums.

Each takes a folder, ``plays`` of Parquet files and ``vectors.npy``, and writes one row per user.
Ids are dense integers here, which spares these programs the dictionaries that our job makes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from scipy import sparse

from models.events import DAY, HOUR, play_weight
from models.layout import HALF_LIVES, VECTOR_SIZE
from schemas.arrow import list_column

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
MOMENT = round(AS_OF.timestamp()) * 1_000_000
DEVICES = ("car", "desktop", "phone", "speaker")
COLUMNS = ["user_id", "item_id", "played_at", "ms_played", "device"]
CORES = 2


@dataclass(frozen=True)
class Read:
    """What a reader hands over: columns of all plays, (E,) each."""

    user: np.ndarray
    item: np.ndarray
    at: np.ndarray
    ms: np.ndarray
    device: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> Read:
        """Columns of a table; the codes of devices are those of DEVICES."""
        device = table["device"].combine_chunks()
        if not pa.types.is_dictionary(device.type):
            device = device.dictionary_encode()
        known = pc.index_in(device.dictionary, pa.array(DEVICES)).to_numpy()
        return cls(
            table["user_id"].to_numpy(),
            table["item_id"].to_numpy(),
            table["played_at"].cast(pa.int64()).to_numpy(),
            table["ms_played"].to_numpy(),
            known[device.indices.to_numpy()],
        )


def by_hand(folder: Path, out: Path) -> None:
    """Pyarrow reads, a counting sort brings users together, torch sums."""
    form = ds.ParquetFileFormat(dictionary_columns=["device"])
    plays = ds.dataset(folder / "plays", format=form).to_table(columns=COLUMNS)
    kernel(Read.of(plays.unify_dictionaries()), folder, out)


def duckdb_reader(folder: Path, out: Path) -> None:
    """The same with DuckDB as the reader."""
    with connected() as connection:
        query = f"SELECT {', '.join(COLUMNS)} FROM '{folder}/plays/*.parquet'"  # noqa: S608
        kernel(Read.of(connection.sql(query).to_arrow_table()), folder, out)


def kernel(read: Read, folder: Path, out: Path) -> None:
    """All columns from NumPy arrays, users side by side."""
    users = int(read.user.max()) + 1
    places = np.arange(len(read.user), dtype=np.int32)
    shape = (users, len(places))
    order = sparse.coo_matrix((places, (read.user, places)), shape=shape).tocsr().indices
    user, item, at = read.user[order], read.item[order], read.at[order]
    weight = play_weight(read.ms[order].astype(np.float64))
    begins = np.searchsorted(user, np.arange(users))
    last, first = np.zeros(users, np.int64), np.full(users, MOMENT)
    np.maximum.at(last, user, at)
    np.minimum.at(first, user, at)
    behind = (last[user] - at) / DAY
    vectors = torch.from_numpy(np.load(folder / "vectors.npy"))
    bags, index = torch.from_numpy(begins), torch.from_numpy(item.astype(np.int64))
    tastes, plays = [], []
    for days in HALF_LIVES.values():
        decayed = weight * np.exp2(-behind / days)
        own = torch.from_numpy(decayed.astype(np.float32))
        total = torch.nn.functional.embedding_bag(
            index, vectors, bags, mode="sum", per_sample_weights=own
        )
        tastes.append(total.numpy())
        total_plays = np.bincount(user, decayed, users)
        plays.append(total_plays * np.exp2(-(MOMENT - last) / DAY / days))
    cell = np.sort(user.astype(np.int64) * len(vectors) + item)
    once = cell[np.diff(cell, prepend=-1) > 0] // len(vectors)
    distinct = np.bincount(once, minlength=users)
    columns = (at // HOUR % 24, (at // DAY + 3) % 7, read.device[order])
    histograms = [
        np.bincount(user * width + column, decayed, users * width).reshape(users, width)
        for column, width in zip(columns, WIDTHS, strict=True)
    ]
    count = np.bincount(user, minlength=users)
    write(out, tastes, amounts(plays, distinct, count, last, first), histograms)


def duckdb_sql(folder: Path, out: Path) -> None:
    """DuckDB's SQL for weights and histograms, a sparse matrix product for the sums."""
    vectors = np.load(folder / "vectors.npy")
    with connected() as connection:
        connection.execute(WEIGHTED.format(folder=folder))
        per_user = connection.execute(PER_USER).fetchnumpy()
        names = ["user_id", "item", *(f"w{position}" for position in range(len(HALF_LIVES)))]
        plays = connection.execute(f"SELECT {', '.join(names)} FROM weighted").fetchnumpy()  # noqa: S608
    numbers = {name: np.asarray(column) for name, column in per_user.items()}
    users = int(numbers["user_id"].max()) + 1
    place = (plays["user_id"], plays["item"])
    tastes = [
        sparse.csr_matrix((plays[name], place), shape=(users, len(vectors))) @ vectors
        for name in names[2:]
    ]
    rows = {name: np.zeros(users, column.dtype) for name, column in numbers.items()}
    for name, column in numbers.items():
        rows[name][numbers["user_id"]] = column
    moved = [
        rows[f"plays{position}"] * np.exp2(-(MOMENT - rows["last"]) / DAY / days)
        for position, days in enumerate(HALF_LIVES.values())
    ]
    histograms = [
        np.stack([rows[f"{name}{column}"] for column in range(width)], axis=1)
        for name, width in zip(HISTOGRAMS, WIDTHS, strict=True)
    ]
    counted = amounts(moved, rows["items"], rows["plays"], rows["last"], rows["first"])
    write(out, tastes, counted, histograms)


HISTOGRAMS, WIDTHS = ("hour", "weekday", "device"), (24, 7, len(DEVICES))
WEIGHTED = f"""
CREATE TEMP TABLE weighted AS
WITH read AS (
  SELECT user_id, item_id AS item, epoch_us(played_at) AS t, list_position({
    list(DEVICES)
}, device) - 1 AS device,
    least(greatest(ms_played / 30000.0, 0.1), 1) AS weight
  FROM '{{folder}}/plays/*.parquet'),
last AS (SELECT user_id, max(t) AS last FROM read GROUP BY ALL)
SELECT user_id, item, t, t // {HOUR} % 24 AS hour, (t // {DAY} + 3) % 7 AS weekday, device,
  {
    ", ".join(
        f"(weight * pow(2, (t - last) / {DAY}.0 / {days}))::FLOAT AS w{position}"
        for position, days in enumerate(HALF_LIVES.values())
    )
}
FROM read JOIN last USING (user_id)"""  # noqa: S608
PER_USER = f"""
SELECT user_id, count(*) AS plays, count(DISTINCT item) AS items, min(t) AS first, max(t) AS last,
  {", ".join(f"sum(w{position}) AS plays{position}" for position in range(len(HALF_LIVES)))},
  {
    ", ".join(
        f"coalesce(sum(w{len(HALF_LIVES) - 1}) FILTER ({name} = {column}), 0) AS {name}{column}"
        for name, width in zip(HISTOGRAMS, WIDTHS, strict=True)
        for column in range(width)
    )
}
FROM weighted GROUP BY user_id"""  # noqa: S608


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB on as many cores as the others."""
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {CORES}")
        connection.execute("SET preserve_insertion_order = false")
        yield connection


def amounts(
    plays: list[np.ndarray],
    distinct: np.ndarray,
    count: np.ndarray,
    last: np.ndarray,
    first: np.ndarray,
) -> np.ndarray:
    """How much, how varied and how recent, (U, 7)."""
    columns = [*map(np.log1p, plays), np.log1p(distinct), distinct / np.maximum(count, 1)]
    columns += [np.log1p(np.where(count > 0, MOMENT - at, 0) / DAY) for at in (last, first)]
    return np.stack(columns, axis=1)


def write(
    out: Path, tastes: list[np.ndarray], counted: np.ndarray, histograms: list[np.ndarray]
) -> None:
    """Directions and shares of whoever has played, as Parquet."""
    parts = [_scaled(taste, np.linalg.norm(taste, axis=1)) for taste in tastes]
    parts += [counted, *(_scaled(shares, shares.sum(axis=1)) for shares in histograms)]
    rows = np.concatenate(parts, axis=1).astype(np.float32)
    heard = np.flatnonzero(rows[:, 3 * VECTOR_SIZE + 3])
    table = pa.table({"user_id": heard, "features": list_column(rows[heard])})
    pq.write_table(table, out, use_dictionary=False, write_statistics=False)


def _scaled(rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    return rows / np.where(size > 0, size, 1)[:, None]
