"""The batch registry: which vector space counts, and what each was made from.

A vector is comparable only with vectors of its own batch, so a batch is what is built, checked,
promoted and kept. Every change is one Delta commit of the ``batches`` table, made against the
version that was read: whoever comes second is told, and nothing is overwritten unseen.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from pydantic import BaseModel, ConfigDict

from schemas.contract import contract
from schemas.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakehouse.storage import Lakehouse

State = Literal["building", "candidate", "live", "legacy", "retired", "failed"]
ATTEMPTS = 10  # of a change that does not mind what others changed meanwhile


class Batch(BaseModel):
    """One row of ``batches``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_id: str
    state: State
    created_at: datetime
    updated_at: datetime
    as_of: datetime
    settings: str
    code_version: str
    parents: dict[str, int]
    """Delta version of each table that the batch reads."""
    tables: dict[str, int] = {}
    """Delta version at which each table of the batch was published."""
    layout: str | None = None
    model_uri: str | None = None
    model_sha256: str | None = None
    metrics: str | None = None
    gates: dict[str, str] = {}
    """Verdict of the gate of each table."""

    def version_of(self, table: str) -> int:
        """The Delta version at which this batch reads a table.

        Raises:
            BatchError: the batch knows nothing of the table.
        """
        known = {**self.parents, **self.tables}
        if table not in known:
            raise BatchError(
                f"batch {self.batch_id} ({self.state}) has no {table}: "
                f"it has {', '.join(sorted(known)) or 'nothing yet'}"
            )
        return known[table]


class BatchRegistry:
    """Reads and changes the ``batches`` table of a lakehouse."""

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake

    def list(self) -> list[Batch]:
        """All batches, oldest first."""
        return sorted(self._read()[1].values(), key=lambda batch: batch.batch_id)

    def get(self, name: str) -> Batch:
        """The batch of that id, or the one that is ``live`` now, or was live last.

        Raises:
            BatchError: there is none.
        """
        batches = self.list()
        matching = [batch for batch in batches if name in (batch.batch_id, batch.state)]
        if name not in ("live", "legacy"):
            matching = [batch for batch in batches if batch.batch_id == name]
        if not matching:
            known = ", ".join(f"{batch.batch_id} ({batch.state})" for batch in batches) or "none"
            raise BatchError(f"no batch {name!r} in {self._lake.uri}; there are: {known}")
        return max(matching, key=lambda batch: batch.updated_at)

    def open(
        self, as_of: datetime, parents: Mapping[str, int], settings: str, code_version: str
    ) -> Batch:
        """Begin a batch: pin its inputs and its moment, in one commit."""
        now = datetime.now(UTC)
        batch = Batch(
            batch_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            state="building",
            created_at=now,
            updated_at=now,
            as_of=as_of,
            settings=settings,
            code_version=code_version,
            parents=dict(parents),
        )

        def add(batches: dict[str, Batch]) -> dict[str, Batch]:
            return {**batches, batch.batch_id: batch}

        self._change(add, ATTEMPTS)
        return batch

    def record(self, batch_id: str, **changes: Any) -> Batch:
        """Write what a step has made: mappings are merged, everything else is replaced.

        Raises:
            BatchError: there is no such batch, or it would become live without ``promote``.
        """
        if changes.get("state") == "live":
            raise BatchError(f"batch {batch_id} becomes live by `tasteprint batches promote` alone")

        def update(batches: dict[str, Batch]) -> dict[str, Batch]:
            old = _one(batches, batch_id)
            merged = {
                name: {**getattr(old, name), **value} if isinstance(value, dict) else value
                for name, value in changes.items()
            }
            return {**batches, batch_id: _changed(old, **merged)}

        return self._change(update, ATTEMPTS)[batch_id]

    def promote(self, batch_id: str) -> Batch:
        """Make a candidate live and the live batch legacy, in one commit.

        Raises:
            BatchError: the batch is no candidate, or somebody changed the registry meanwhile.
        """

        def switch(batches: dict[str, Batch]) -> dict[str, Batch]:
            chosen = _one(batches, batch_id)
            if chosen.state != "candidate":
                raise BatchError(
                    f"batch {batch_id} is {chosen.state}: only a candidate, whose gates have all "
                    "passed, can be promoted"
                )
            stepped_down = {
                batch.batch_id: _changed(batch, state="legacy")
                for batch in batches.values()
                if batch.state == "live"
            }
            return {**batches, **stepped_down, batch_id: _changed(chosen, state="live")}

        return self._change(switch, attempts=1)[batch_id]

    def _read(self) -> tuple[DeltaTable, dict[str, Batch]]:
        table = self._lake.ensure("batches")
        rows = table.to_pyarrow_table().to_pylist()
        return table, {row["batch_id"]: _from_row(row) for row in rows}

    def _change(
        self, change: Callable[[dict[str, Batch]], dict[str, Batch]], attempts: int
    ) -> dict[str, Batch]:
        for _ in range(attempts):
            table, batches = self._read()
            after = change(batches)
            rows = [_to_row(batch) for batch in after.values()]
            try:
                write_deltalake(
                    table,
                    pa.Table.from_pylist(rows, schema=contract("batches").arrow_schema),
                    mode="overwrite",
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:
                continue
            return after
        raise BatchError(
            "somebody else changed the batch registry at the same moment: "
            "look with `tasteprint batches list` and try again"
        )


def _one(batches: Mapping[str, Batch], batch_id: str) -> Batch:
    if batch_id not in batches:
        raise BatchError(f"no batch {batch_id!r}: see `tasteprint batches list`")
    return batches[batch_id]


def _changed(batch: Batch, **changes: Any) -> Batch:
    return Batch.model_validate({**batch.model_dump(), **changes, "updated_at": datetime.now(UTC)})


def _to_row(batch: Batch) -> dict[str, Any]:
    row = batch.model_dump()
    for name, mark in (("parents", "@"), ("tables", "@"), ("gates", ":")):
        row[name] = [f"{key}{mark}{value}" for key, value in sorted(row[name].items())]
    return row


def _from_row(row: dict[str, Any]) -> Batch:
    pairs = {
        name: dict(entry.split(mark, 1) for entry in row[name])
        for name, mark in (("parents", "@"), ("tables", "@"), ("gates", ":"))
    }
    return Batch.model_validate({**row, **pairs})
