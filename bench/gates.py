"""What the gates catch, and what they raise without a cause, on two batches that were really built.

::

    python bench/gates.py --lakehouse URI --next ID

The next batch of a lakehouse is brought to its gate again beside the live one: as it is, with each
of many faults injected into one of its tables, and as bootstrap samples of its users, the same in
both batches. A line of JSON for each: which checks failed, which warned, and whether those are the
checks that are meant to. Everything happens in a copy; the lakehouse is only read.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.gate import audit
from lakehouse.groups import groups_of
from lakehouse.storage import Lakehouse
from schemas.arrow import list_column, matrix
from schemas.contract import contract
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakehouse.batch import Batch
    from lakehouse.checks import Verdict

TABLES = ("track_vectors", "user_features", "user_embeddings")
OF_USERS = ("user_features", "user_embeddings")
Groups = dict[str, dict]


class Gates(Settings):
    """Inject faults into a batch, and count what its gates raise."""

    lakehouse: str
    """Folder or URI of a lakehouse with a live batch and a later one whose tables are whole."""
    next: str
    """The later batch."""
    samples: int = 10
    """Bootstrap samples of the users, in which nothing may be raised."""
    seed: int = 0
    """Seed of faults and samples."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong on the way to one table.

    Attributes:
        table: whose rows it spoils.
        inject: rows, the feature groups of the batch and random numbers to spoilt rows.
        fails: the checks that are meant to stop it.
        warns: checks that may warn beside them, and rightly.
    """

    table: str
    inject: Callable[[pa.Table, Groups, np.random.Generator], pa.Table]
    fails: frozenset[str]
    warns: frozenset[str] = frozenset()

    def caught(self, verdict: Verdict) -> bool:
        """Whether exactly the checks that are meant to have stopped it."""
        return broken(verdict, "fail") == self.fails and broken(verdict, "warn") <= self.warns


def replaced(rows: pa.Table, column: str, values: pa.Array | np.ndarray) -> pa.Table:
    """The rows with other values in one column; a matrix becomes a column of vectors."""
    if isinstance(values, np.ndarray):
        values = list_column(values)
    return rows.set_column(rows.schema.get_field_index(column), column, values)


def where(rows: pa.Table, chosen: np.ndarray, column: str, value: object) -> pa.Table:
    """The rows with one value in the chosen ones."""
    spoilt = pc.if_else(
        pa.array(chosen), pa.scalar(value, rows.schema.field(column).type), rows[column]
    )
    return replaced(rows, column, spoilt.combine_chunks())


def some(rows: pa.Table, share: float, rng: np.random.Generator) -> np.ndarray:
    """A random share of the rows, (N,) bool."""
    return rng.permutation(len(rows)) < share * len(rows)


def lose_buckets(rows: pa.Table, _groups: Groups, _rng: np.random.Generator) -> pa.Table:
    """A quarter of the buckets never arrives."""
    buckets = rows["bucket"].to_numpy()
    return rows.filter(pa.array(buckets >= (buckets.max() + 1) // 4))


def truncate(rows: pa.Table, _groups: Groups, _rng: np.random.Generator) -> pa.Table:
    """A writer stops after two fifths of its rows."""
    return rows.slice(0, len(rows) * 2 // 5)


def repeat(rows: pa.Table, _groups: Groups, rng: np.random.Generator) -> pa.Table:
    """A join finds some keys twice."""
    return pa.concat_tables([rows, rows.filter(pa.array(some(rows, 0.05, rng)))])


def empty_status(rows: pa.Table, _groups: Groups, rng: np.random.Generator) -> pa.Table:
    """A column is not filled for a fifth of the users."""
    return where(rows, some(rows, 0.2, rng), "status", None)


def rename(column: str) -> Callable[[pa.Table, Groups, np.random.Generator], pa.Table]:
    """One key in a hundred is another system's."""

    def inject(rows: pa.Table, _groups: Groups, rng: np.random.Generator) -> pa.Table:
        theirs = pc.binary_join_element_wise(pa.scalar("urn"), rows[column], ":")
        chosen = pa.array(some(rows, 0.01, rng))
        return replaced(rows, column, pc.if_else(chosen, theirs, rows[column]).combine_chunks())

    return inject


def negative_support(rows: pa.Table, _groups: Groups, rng: np.random.Generator) -> pa.Table:
    """A counter runs over."""
    return where(rows, some(rows, 0.01, rng), "support", -1)


def older(rows: pa.Table, _groups: Groups, _rng: np.random.Generator) -> pa.Table:
    """Last month's state is written once more."""
    moment = rows["as_of"].combine_chunks()
    past = pc.subtract(moment, pa.scalar(timedelta(days=30), pa.duration("us")))
    return replaced(rows, "as_of", past)


def in_group(
    name: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> Callable[[pa.Table, Groups, np.random.Generator], pa.Table]:
    """A fault in the columns of one feature group, of the users who have it."""

    def inject(rows: pa.Table, groups: Groups, rng: np.random.Generator) -> pa.Table:
        features = matrix(rows["features"]).copy()
        has = np.flatnonzero(matrix(rows["present"])[:, list(groups).index(name)])
        start = groups[name]["start"]
        columns = slice(start, start + len(groups[name]["columns"]))
        features[has, columns] = change(features[has, columns], rng)
        return replaced(rows, "features", features)

    return inject


def milliseconds(amounts: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Ages in milliseconds where seconds were meant; the last two amounts are logs of ages."""
    return np.hstack([amounts[:, :-2], np.log1p(np.expm1(amounts[:, -2:]) * 1_000)])


def shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values of other users: every column is distributed as before."""
    return rng.permutation(values)


def half_shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same for every second user."""
    values[::2] = rng.permutation(values[::2])
    return values


def another_order(values: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Columns in another order than the layout's, as when a vocabulary is sorted twice."""
    return np.roll(values, 1, axis=1)


def zeroed(values: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Zeros, although the presence bit says that the group is known."""
    return np.zeros_like(values)


def absent(name: str) -> Callable[[pa.Table, Groups, np.random.Generator], pa.Table]:
    """A group that a job no longer finds for anybody."""

    def inject(rows: pa.Table, groups: Groups, rng: np.random.Generator) -> pa.Table:
        present = matrix(rows["present"]).copy()
        present[:, list(groups).index(name)] = 0
        return replaced(in_group(name, zeroed)(rows, groups, rng), "present", present)

    return inject


def shorter(rows: pa.Table, _groups: Groups, _rng: np.random.Generator) -> pa.Table:
    """One column of the layout is missing."""
    return replaced(rows, "features", matrix(rows["features"])[:, :-1])


def in_vectors(
    column: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> Callable[[pa.Table, Groups, np.random.Generator], pa.Table]:
    """A fault in a column of vectors."""

    def inject(rows: pa.Table, _groups: Groups, rng: np.random.Generator) -> pa.Table:
        return replaced(rows, column, change(matrix(rows[column]).copy(), rng))

    return inject


def some_are(number: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """One number of one vector in fifty is no number, or infinite."""

    def change(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(vectors)) < 0.02  # noqa: PLR2004
        vectors[chosen, 0] = number
        return vectors

    return change


def scaled(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors are published before they are normalised."""
    return vectors * rng.uniform(0.5, 2, (len(vectors), 1))


def collapsed(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three users in ten are given one vector."""
    vectors[rng.random(len(vectors)) < 0.3] = vectors[0]  # noqa: PLR2004
    return vectors


def flattened(vectors: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Training leaves few directions: eight, around the mean."""
    mean = vectors.mean(axis=0)
    directions = np.linalg.svd(vectors - mean, full_matrices=False)[2][:8]
    flat = mean + (vectors - mean) @ directions.T @ directions
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def named(*checks: str) -> frozenset[str]:
    """Names of checks."""
    return frozenset(checks)


BLURRED = named("live.neighbours", "live.effective_dimension")  # by vectors that tell less
FAULTS = {
    "a quarter of the buckets is missing": Fault(
        "user_embeddings", lose_buckets, named("live.coverage"), named("live.row_count")
    ),
    "the table is cut off": Fault(
        "track_vectors", truncate, named("live.coverage", "live.row_count")
    ),
    "users are there twice": Fault("user_embeddings", repeat, named("key.unique")),
    "a column empties": Fault(
        "user_embeddings", empty_status, named("status.not_null", "live.null_share")
    ),
    "a count is negative": Fault("track_vectors", negative_support, named("support.range")),
    "items that nobody knows": Fault("track_vectors", rename("item_id"), named("live.references")),
    "users that nobody knows": Fault(
        "user_embeddings", rename("user_id"), named("live.references")
    ),
    "an older state": Fault("user_features", older, named("live.freshness")),
    "milliseconds for seconds": Fault(
        "user_features",
        in_group("amounts", milliseconds),
        named("live.psi.amounts", "live.ks.amounts"),
        named("live.kept.amounts"),
    ),
    "columns in another order": Fault(
        "user_features",
        in_group("hour", another_order),
        named("live.psi.hour", "live.ks.hour"),
    ),
    "a group of zeros": Fault(
        "user_features", in_group("hour", zeroed), named("live.psi.hour", "live.ks.hour")
    ),
    "a group of other users": Fault(
        "user_features", in_group("creators", shuffled), named("live.kept.creators")
    ),
    "amounts of other users": Fault(
        "user_features", in_group("amounts", shuffled), named("live.kept.amounts")
    ),
    "a group is absent": Fault("user_features", absent("creators"), named("live.presence")),
    "rows of another layout": Fault("user_features", shorter, named("live.lengths")),
    "features that are no numbers": Fault(
        "user_features", in_vectors("features", some_are(np.nan)), named("features.finite")
    ),
    "vectors that are infinite": Fault(
        "user_embeddings", in_vectors("embedding", some_are(np.inf)), named("embedding.finite")
    ),
    "vectors of any length": Fault(
        "user_embeddings", in_vectors("embedding", scaled), named("embedding.norm")
    ),
    "many users, one vector": Fault(
        "user_embeddings", in_vectors("embedding", collapsed), named("live.collapse"), BLURRED
    ),
    "few directions": Fault(
        "user_embeddings",
        in_vectors("embedding", flattened),
        named("live.effective_dimension"),
        BLURRED,
    ),
    "vectors of other users": Fault(
        "user_embeddings", in_vectors("embedding", shuffled), named("live.neighbours")
    ),
}


class Rehearsal:
    """A copy of two batches in which the later one can be brought to its gate again and again.

    Args:
        folder: of the copy.
        parents: tables that no batch writes, by name.
        live: the tables of the live batch, whose row it is otherwise.
        coming: those of the later one.
    """

    def __init__(
        self,
        folder: Path,
        parents: Mapping[str, pa.Table],
        live: tuple[Batch, Mapping[str, pa.Table]],
        coming: tuple[Batch, Mapping[str, pa.Table]],
    ) -> None:
        self.folder, self.lake = folder, Lakehouse(str(folder / "lake"))
        for table, rows in parents.items():
            self.lake.append(table, rows)
        before = opened(self.lake, *live)
        self.lake.batches.record(before.batch_id, state="candidate")
        self.lake.batches.promote(before.batch_id)
        self.batch = opened(self.lake, *coming)

    def verdict(self, table: str, rows: pa.Table | None = None) -> Verdict:
        """What the gate says to the batch's rows of a table, or to others in their place."""
        own = self.lake.read(table, self.batch) if rows is None else rows
        place = self.folder / f"{table}-staged.parquet"
        pq.write_table(own.cast(_loose(contract(table).arrow_schema)), place)
        return audit(self.lake, table, self.batch.batch_id, [str(place)], spark=None)

    def with_fault(self, fault: Fault, seed: int) -> Verdict:
        """What the gate says to a fault in one of the tables."""
        rows = self.lake.read(fault.table, self.batch)
        rng = np.random.default_rng(seed)
        return self.verdict(fault.table, fault.inject(rows, groups_of(self.batch), rng))


def opened(lake: Lakehouse, like: Batch, tables: Mapping[str, pa.Table]) -> Batch:
    """A batch that is building, with these tables and otherwise like another."""
    registry = lake.batches
    inputs = {name: lake.open(name).version() for name in like.parents if lake.exists(name)}
    batch_id = registry.open(like.as_of, inputs, like.settings, like.code_version).batch_id
    for table, rows in tables.items():
        lake.append(table, _owned(rows, batch_id))
        registry.record(batch_id, tables={table: lake.open(table).version()})
    return registry.record(
        batch_id,
        layout=like.layout,
        model_uri=like.model_uri,
        model_sha256=like.model_sha256,
    )


def _loose(schema: pa.Schema) -> pa.Schema:
    """A careless writer's schema, that lets nulls through."""
    return pa.schema([field.with_nullable(True) for field in schema])


def _owned(rows: pa.Table, batch_id: str) -> pa.Table:
    return replaced(rows, "batch_id", pa.array([batch_id] * len(rows)))


def rehearsal(lake: Lakehouse, live: Batch, coming: Batch, folder: Path) -> Rehearsal:
    """Copy two batches."""
    sides = [
        (batch, {table: lake.read(table, batch) for table in TABLES if table in batch.tables})
        for batch in (live, coming)
    ]
    return Rehearsal(folder, {"items": lake.read("items", coming)}, *sides)


def bootstrap(lake: Lakehouse, live: Batch, coming: Batch, folder: Path, seed: int) -> Rehearsal:
    """Copy two batches with the same random users, some of them several times, under new names."""
    rng = np.random.default_rng(seed)
    users = np.sort(lake.read("user_features", coming, ["user_id"])["user_id"].to_numpy())
    drawn = rng.choice(users, len(users))
    sides = [
        (batch, {table: _drawn(lake.read(table, batch), drawn) for table in OF_USERS})
        for batch in (live, coming)
    ]
    return Rehearsal(folder, {}, *sides)


def _drawn(rows: pa.Table, users: np.ndarray) -> pa.Table:
    """The rows of the users, each copy under a name of its own; who has none is left out."""
    place = pc.index_in(pa.array(users), rows["user_id"].combine_chunks())
    copies = pa.array([f"{user}, drawn {number}" for number, user in enumerate(users)])
    known = place.is_valid()
    return replaced(rows.take(place.filter(known)), "user_id", copies.filter(known))


def broken(verdict: Verdict, level: str) -> frozenset[str]:
    """Names of the checks of a level that did not hold."""
    found = (check for check in verdict.checks if not check.success and check.level == level)
    return frozenset(check.check for check in found)


def main() -> None:
    """Bring the batch to its gates in all these ways, and print what they said."""
    args = Gates.parse(None)
    lake = Lakehouse(args.lakehouse)
    live, coming = lake.batch("live"), lake.batch(args.next)
    with tempfile.TemporaryDirectory() as place:
        copy = rehearsal(lake, live, coming, Path(place))
        for table in TABLES:
            _say({"clean": table}, copy.verdict(table))
        for name, fault in FAULTS.items():
            found = copy.with_fault(fault, args.seed)
            _say({"fault": name, "table": fault.table, "as_meant": fault.caught(found)}, found)
        for number in range(args.samples):
            seed = args.seed + number
            sample = bootstrap(lake, live, coming, Path(place) / f"sample-{number}", seed)
            for table in OF_USERS:
                _say({"sample": number, "table": table}, sample.verdict(table))


def _say(what: dict[str, object], verdict: Verdict) -> None:
    raised = [check for check in verdict.checks if not check.success]
    found = {level: sorted(broken(verdict, level)) for level in ("fail", "warn")}
    seen = {check.check: check.observed for check in raised}
    print(json.dumps({**what, **found, "observed": seen}), flush=True)


if __name__ == "__main__":
    main()
