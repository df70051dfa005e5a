"""A batch made again from what it pins, and compared with what it was."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from lakehouse.storage import Lakehouse
from schemas.arrow import matrix
from schemas.contract import contract
from schemas.errors import BatchError
from schemas.version import code_version
from tasteprint.engines import execute, flags, ray_step, spark_step
from tasteprint.settings import OnEngines

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.batch import Batch
    from tasteprint.engines import Step

TABLES = ("track_vectors", "user_features", "user_sequences", "user_embeddings")
TOLERANCE = 1e-5  # of a number in a vector: sums are added up in no fixed order
NEEDED = {"track_vectors", "features", "embed"}


class BatchesRebuild(OnEngines):
    """Make a batch again from the inputs, settings and model that it pins, and compare.

    The copy has an id of its own and is never served; it is retired once it is found equal.
    """

    batch: CliPositionalArg[str] = Field(description="An id, or live, or legacy.")
    keep: bool = False
    """Leave the copy as a batch that is building, instead of retiring it."""

    def cli_cmd(self) -> None:
        """Rebuild, compare, and say what differs."""
        console = Console(highlight=False)
        lake = Lakehouse(self.lakehouse)
        original = lake.batches.get(self.batch)
        copy = rebuild(self, lake, original, console)
        differing = differences(lake, original, copy)
        for line in differing:
            console.print(f"[red]✗[/] {line}")
        if differing:
            raise BatchError(
                f"{copy.batch_id} is not what {original.batch_id} was; it stays, to be looked at"
            )
        if not self.keep:
            lake.batches.retire(copy.batch_id)
        tables = ", ".join(TABLES)
        console.print(
            f"[green]✓[/] {original.batch_id} made again as {copy.batch_id}: {tables} are equal, "
            f"vectors to {TOLERANCE:g}"
        )


def rebuild(args: OnEngines, lake: Lakehouse, original: Batch, console: Console) -> Batch:
    """Make the tables of a batch again under another id.

    Raises:
        BatchError: the batch does not say how it was made, or its model is not what it pins.
    """
    require_recipe(original)
    require_model(lake, original)
    if original.code_version != code_version():
        console.print(f"made by {original.code_version}; this is {code_version()}")
    of = {"rebuild": {"of": original.batch_id}}
    settings = f"rebuild of {original.batch_id}"
    copy = lake.batches.open(original.as_of, original.parents, settings, code_version())
    lake.batches.record(
        copy.batch_id,
        recipe=of,
        layout=original.layout,
        model_uri=original.model_uri,
        model_sha256=original.model_sha256,
    )
    for step in _steps(args, lake, original, copy):
        execute(step, args.lakehouse, console)
    return lake.batches.get(copy.batch_id)


def require_recipe(batch: Batch) -> None:
    """Raise BatchError unless the batch says how each of its tables was made."""
    if batch.state == "retired":
        raise BatchError(f"batch {batch.batch_id} is retired: what it pinned may be gone")
    missing = NEEDED - batch.recipe.keys()
    if missing:
        raise BatchError(
            f"batch {batch.batch_id} ({batch.state}) does not say how it was made: "
            f"{', '.join(sorted(missing))} are missing in its recipe"
        )


def require_model(lake: Lakehouse, batch: Batch) -> None:
    """Raise BatchError unless the model lies where the batch says, with the hash that it pins."""
    weights = f"{batch.model_uri}/model.safetensors"
    if not lake.filesystem.exists(weights):
        raise BatchError(f"the model of batch {batch.batch_id} is not at {batch.model_uri}")
    found = hashlib.sha256(lake.filesystem.cat_file(weights)).hexdigest()
    if found != batch.model_sha256:
        raise BatchError(
            f"the model of batch {batch.batch_id} at {batch.model_uri} is not the one it pins: "
            f"sha256 {found[:12]}…, not {(batch.model_sha256 or '')[:12]}…"
        )


def _steps(args: OnEngines, lake: Lakehouse, original: Batch, copy: Batch) -> list[Step]:
    where = ["--lakehouse", lake.uri, "--batch-id", copy.batch_id]
    made = {name: [*where, *flags(original.recipe[name])] for name in sorted(NEEDED)}
    return [
        spark_step(
            "rebuild_track_vectors",
            "item vectors",
            "build_track_vectors",
            made["track_vectors"],
            args.spark_submit,
        ),
        spark_step(
            "rebuild_features",
            "user features",
            "build_features",
            made["features"],
            args.spark_submit,
        ),
        ray_step(
            "rebuild_embed",
            "embed everyone",
            "batch_embed",
            made["embed"],
            args.ray_address,
        ),
    ]


def differences(lake: Lakehouse, original: Batch, copy: Batch) -> list[str]:
    """Say each way in which two batches' tables differ; an empty list if they are equal."""
    return [
        line
        for table in TABLES
        if table in original.tables  # sequences are younger than some batches
        for line in _differences(
            table, *(_sorted(lake.read(table, one), table) for one in (original, copy))
        )
    ]


def _sorted(rows: pa.Table, table: str) -> pa.Table:
    key = [name for name in contract(table).key if name != "batch_id"]
    return rows.drop_columns(["batch_id"]).sort_by([(name, "ascending") for name in key])


def _differences(table: str, ours: pa.Table, theirs: pa.Table) -> list[str]:
    if ours.num_rows != theirs.num_rows:
        return [f"{table}: {theirs.num_rows:,} rows, not {ours.num_rows:,}"]
    found = []
    for name in ours.column_names:
        if ours[name].null_count == len(ours):
            continue  # the contract has gained it since
        if contract(table)[name].is_vector and table != "user_sequences":
            apart = _largest(matrix(ours[name]), matrix(theirs[name]))
            if apart > TOLERANCE:
                found.append(f"{table}.{name}: numbers differ by up to {apart:.2g}")
        elif not ours[name].equals(theirs[name]):
            found.append(f"{table}.{name}: values differ")
    return found


def _largest(ours: np.ndarray, theirs: np.ndarray) -> Any:
    if ours.shape != theirs.shape:
        return np.inf
    return np.abs(ours - theirs).max(initial=0.0)
