"""One batch: a vector space, what it was made from, and the states it goes through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from schemas.errors import BatchError

State = Literal["building", "candidate", "live", "legacy", "retired", "failed"]
BECOMES: dict[State, tuple[State, ...]] = {
    "building": ("candidate", "failed", "retired"),
    "failed": ("building", "retired"),
    "candidate": ("live", "retired"),
    "live": ("legacy",),
    "legacy": ("live", "retired"),
    "retired": (),
}
SERVED: tuple[State, ...] = ("live", "legacy")
READABLE: tuple[State, ...] = ("candidate", "live", "legacy")

PAIRS = {"parents": "@", "tables": "@", "gates": ":"}  # at rest: name, mark, value
DOCUMENTS = ("recipe", "refresh")  # at rest: JSON


class Refresh(BaseModel):
    """Newer features and vectors in the space of a batch that is served, until they are whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: datetime
    parents: dict[str, int]
    tables: dict[str, int] = {}
    gates: dict[str, str] = {}


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
    recipe: dict[str, dict[str, Any]] = {}
    """Arguments, seeds included, of each step that made the batch."""
    previous: str | None = None
    """The batch that was live before this one."""
    legacy_until: datetime | None = None
    """Until when a legacy batch was promised to consumers that were not ready."""
    refresh: Refresh | None = None
    consumers: tuple[str, ...] = ()
    """Downstream models that are trained on the batch, sorted."""

    def version_of(self, table: str) -> int:
        """The Delta version at which this batch reads a table.

        Raises:
            BatchError: the batch knows nothing of the table.
        """
        known = {**self.parents, **self.tables}
        if not self.has(table):
            raise BatchError(
                f"batch {self.batch_id} ({self.state}) has no {table}: "
                f"it has {', '.join(sorted(known)) or 'nothing yet'}"
            )
        return known[table]

    def has(self, table: str) -> bool:
        """Whether the batch reads or has published a table."""
        return table in self.parents or table in self.tables

    def pins(self) -> set[tuple[str, int]]:
        """Each table and version that must stay readable while the batch is not retired."""
        held = {*self.parents.items(), *self.tables.items()}
        if self.refresh:
            held |= {*self.refresh.parents.items(), *self.refresh.tables.items()}
        return held

    @property
    def rebuild_of(self) -> str | None:
        """The batch that this one was made again from, if that is what it is."""
        of: str | None = self.recipe.get("rebuild", {}).get("of")
        return of

    def refreshed(self) -> Batch:
        """The batch as its refresh under way will leave it."""
        if self.refresh is None:
            return self
        new = self.refresh
        return self.changed(
            as_of=new.as_of,
            parents={**self.parents, **new.parents},
            tables={**self.tables, **new.tables},
            gates={**self.gates, **new.gates},
        )

    def becomes(self, state: State, **changes: Any) -> Batch:
        """The batch in its next state.

        Raises:
            BatchError: a batch in its state never goes there.
        """
        if state not in BECOMES[self.state]:
            allowed = " or ".join(BECOMES[self.state]) or "nothing else"
            raise BatchError(
                f"batch {self.batch_id} is {self.state}, and can become {allowed}, not {state}"
            )
        return self.changed(state=state, **changes)

    def changed(self, **changes: Any) -> Batch:
        """A copy with other values, checked, and with the time of the change."""
        values = {**self.model_dump(), **changes, "updated_at": datetime.now(UTC)}
        return Batch.model_validate(values)

    def to_row(self) -> dict[str, Any]:
        """The batch as a row of its table."""
        row = self.model_dump()
        for name, mark in PAIRS.items():
            row[name] = [f"{key}{mark}{value}" for key, value in sorted(row[name].items())]
        for name in DOCUMENTS:
            row[name] = json.dumps(row[name], default=str, sort_keys=True) if row[name] else None
        return {**row, "consumers": list(self.consumers)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Batch:
        """The batch of a row; columns that an older table lacks take their defaults."""
        said: dict[str, Any] = {name: value for name, value in row.items() if value is not None}
        for name, mark in PAIRS.items():
            said[name] = dict(entry.split(mark, 1) for entry in row[name])
        for name in DOCUMENTS:
            if name in said:
                said[name] = json.loads(said[name])
        return cls.model_validate(said)
