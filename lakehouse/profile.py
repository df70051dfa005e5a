"""What one pass over a table's files tells, so that no check has to read them again.

Counts are over all rows. Whatever needs the vectors themselves, or compares row with row, looks at
a sample that is the same for every batch: the rows whose key has a small hash, of whole buckets of
users where the table has buckets, so that the files of the others are not opened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.parts import READING, each_part
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import pyarrow.dataset as ds

    from lakehouse.parts import Spread

KEYS = 1_000_000  # keys that are compared with those of other tables
VECTORS = 20_000  # rows whose vectors are looked at
HASHES = 2**32
ROWS_AT_ONCE = 2_000_000  # of a part that is counted elsewhere


@dataclass
class Profile:
    """What is known of one table of one batch.

    Attributes:
        rows: how many there are.
        nulls: share of nulls by column; of the vectors nothing is counted.
        keys: the sample of keys, each once; the key without ``batch_id``.
        below: the hash below which a key is in that sample.
        present: share of users who have each group, (G,), of ``user_features`` alone.
        as_of: the oldest moment of the rows, where they have one.
        buckets: how many the table has, 0 if it has none.
        ids: (S,) whose vectors those in ``vectors`` are; users of whom nothing is known are
            left out, who share one vector rightly.
        vectors: (S, d) float32, finite.
        groups: (S, G) presence bits of the same rows, of ``user_features`` alone.
        lengths: by vector column, how many rows of the sample are how long.
    """

    rows: int = 0
    nulls: dict[str, float] = field(default_factory=dict)
    keys: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    below: int = HASHES
    present: np.ndarray | None = None
    as_of: datetime | None = None
    buckets: int = 0
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, object))
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    groups: np.ndarray | None = None
    lengths: dict[str, Counter[int]] = field(default_factory=dict)


def key_of(table: str) -> str:
    """The column that names a row within its batch: of a user or of an item."""
    return next(name for name in contract(table).key if name != "batch_id")


def hashes(ids: np.ndarray) -> np.ndarray:
    """A number below HASHES for each id, (N,) uint64: the same in every process and batch."""
    return pd.util.hash_array(ids.astype(object), categorize=False) % np.uint64(HASHES)


def sampled(ids: pa.Array, below: int) -> pa.Array:
    """Which ids have a hash below a number, (N,) bool; nulls have none."""
    if below >= HASHES:
        return ids.is_valid()
    known = ids.fill_null("").to_numpy(zero_copy_only=False)
    return pc.and_(pa.array(hashes(known) < below), ids.is_valid())


def profile(
    dataset: ds.Dataset,
    table: str,
    expected_rows: int,
    *,
    vectors: bool,
    spread: Spread | None = None,
) -> Profile:
    """Read what the checks need.

    Args:
        dataset: the rows of one batch.
        table: name of their contract.
        expected_rows: of the larger of the two batches that are compared: both are sampled alike.
        vectors: whether a check needs them.
        spread: counts parts of the files on many hosts; the sample is read here.
    """
    found = _counted(dataset, table, _share(KEYS, expected_rows), spread)
    if vectors and found.rows:
        _add_vectors(found, dataset, table, _share(VECTORS, expected_rows))
    return found


def _share(wanted: int, rows: int) -> float:
    return min(1.0, wanted / max(rows, 1))


@dataclass
class Counts:
    """What is counted over all rows of a part, and adds up; the names are those of ``Profile``.

    Attributes:
        nulls: how many, by column.
        keys: arrays of them.
        bits: by their width, sums of presence bits, and after them how many rows were summed.
    """

    rows: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    keys: list[pa.Array] = field(default_factory=list)
    bits: dict[int, np.ndarray] = field(default_factory=dict)
    as_of: datetime | None = None
    buckets: int = 0

    def add(self, other: Counts) -> None:
        """Count in what was counted elsewhere."""
        self.rows += other.rows
        self.nulls.update(other.nulls)
        self.keys += other.keys
        for width, sums in other.bits.items():
            self.bits[width] = self.bits.get(width, 0.0) + sums
        self.as_of = min((one for one in (self.as_of, other.as_of) if one), default=None)
        self.buckets = max(self.buckets, other.buckets)


def counts(rows: ds.Dataset, table: str, below: int) -> Counts:
    """Count over some rows; of their keys those with a hash below that number are kept."""
    light = _light(table)
    found = Counts()
    for part in _parts(rows, light):
        own = Counts(part.num_rows, Counter({name: part[name].null_count for name in light}))
        ids = part[key_of(table)].cast(pa.string())
        own.keys = [ids.filter(sampled(ids, below))]
        if "present" in light:
            known = _dense(part["present"].filter(pa.array(_even(part["present"]))))
            known = known[np.isfinite(known).all(axis=1)]
            sums = np.append(known.sum(axis=0, dtype=np.float64), len(known))
            own.bits = {known.shape[1]: sums}
        if "as_of" in light:
            own.as_of = pc.min(part["as_of"]).as_py()
        if "bucket" in light:
            own.buckets = (pc.max(part["bucket"]).as_py() or 0) + 1
        found.add(own)
    return found


def _light(table: str) -> list[str]:
    """The columns of which every row is looked at."""
    return [c.name for c in contract(table).columns if not c.is_vector or c.name == "present"]


def _counted(dataset: ds.Dataset, table: str, share: float, spread: Spread | None) -> Profile:
    below = ceil(HASHES * share)
    work = partial(counts, table=table, below=below)
    total = Counts()
    for part in each_part(work, dataset, ROWS_AT_ONCE, spread) if spread else [work(dataset)]:
        total.add(part)
    # Rows whose bits are not as many as most rows' are not counted.
    bits = max(total.bits.values(), key=lambda sums: sums[-1], default=None)
    return Profile(
        rows=total.rows,
        nulls={name: total.nulls[name] / max(total.rows, 1) for name in _light(table)},
        keys=pc.unique(pa.chunked_array(total.keys, pa.string())),
        below=below,
        present=None if bits is None else bits[:-1] / max(bits[-1], 1),
        as_of=total.as_of,
        buckets=total.buckets,
    )


def _parts(
    dataset: ds.Dataset, columns: list[str], chosen: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    parts = dataset.to_batches(columns=columns, filter=chosen, **READING)
    return (part for part in parts if part.num_rows)


def _add_vectors(found: Profile, dataset: ds.Dataset, table: str, share: float) -> None:
    key = key_of(table)
    column = next(c.name for c in contract(table).columns if c.is_vector)
    columns = [key, column] + (["present"] if table == "user_features" else [])
    opened = ceil(share * found.buckets)  # whole buckets, at least one
    limit = ceil(HASHES * share * (found.buckets / opened if opened else 1.0))
    chosen = pc.field("bucket") < opened if opened < found.buckets else None
    if "status" in dataset.schema.names:
        known = pc.field("status") == "established"
        chosen = known if chosen is None else chosen & known
    parts = [part.filter(sampled(part[key], limit)) for part in _parts(dataset, columns, chosen)]
    if not any(part.num_rows for part in parts):
        return
    sample = pa.Table.from_batches(parts).combine_chunks()
    lists = {name: sample[name].chunk(0) for name in columns[1:]}
    found.lengths = {name: _lengths(values) for name, values in lists.items()}
    fit = np.logical_and.reduce([_even(values) for values in lists.values()])
    sample = sample.filter(pa.array(fit))
    ids, vectors = sample[key].to_numpy(), _dense(sample[column].combine_chunks())
    order = np.argsort(hashes(ids), kind="stable")
    order = order[np.isfinite(vectors).all(axis=1)[order]]
    found.ids, found.vectors = ids[order], vectors[order]
    if "present" in columns:
        found.groups = _dense(sample["present"].combine_chunks())[order]


def _lengths(values: pa.Array) -> Counter[int]:
    return Counter(pc.list_value_length(values).drop_null().to_pylist())


def _even(values: pa.Array) -> np.ndarray:
    """Which lists are as long as most of them are, (N,) bool; nulls are not."""
    lengths = pc.list_value_length(values)
    commonest = pc.mode(lengths)
    if not len(commonest):
        return np.zeros(len(values), bool)
    return pc.equal(lengths, commonest[0]["mode"]).fill_null(False).to_numpy(zero_copy_only=False)


def _dense(values: pa.ListArray) -> np.ndarray:
    """Lists of one length as a matrix, (N, d) float32, NaN for nulls among the numbers."""
    flat = values.flatten().to_numpy(zero_copy_only=False)
    width = len(flat) // len(values) if len(values) else 0
    return flat.astype(np.float32, copy=False).reshape(len(values), width)


def paired(now: np.ndarray, live: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of those whom both hold, in the order of the first, (P,) and (P,) int64.

    Args:
        now: (N,) ids.
        live: (M,) ids; of an id that is there twice the first row counts.
    """
    first = np.flatnonzero(~pd.Index(live).duplicated())
    place = pd.Index(live[first]).get_indexer(pd.Index(now))
    here = np.flatnonzero(place >= 0)
    return here, first[place[here]]
