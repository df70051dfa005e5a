"""Downstream models: which batch each is trained on, and which it is ready for.

Which batch a consumer is trained on is kept in ``batches``, where promotion and retirement change
it in the same commit as a state; the table ``consumers`` adds what else is known of each. A process
that dies between the two leaves a consumer without its details, and the same command again writes
them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from lakehouse.batch import READABLE
from schemas.contract import contract
from schemas.errors import BatchError, InputError

if TYPE_CHECKING:
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


class Consumer(BaseModel):
    """One row of ``consumers``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer: str
    batch_id: str
    """The batch that it is trained on."""
    ready_for: str | None = None
    """The batch to which it moves when that is promoted."""
    contact: str | None = None
    registered_at: datetime
    updated_at: datetime


class ConsumerRegistry:
    """Reads and changes who reads what."""

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake

    def all(self) -> list[Consumer]:
        """All consumers, by name; the batch that each is trained on is that of the registry."""
        details = {one.consumer: one for one in self._details()}
        found = []
        for batch in self._lake.batches.list():
            for name in batch.consumers:
                known = details.get(name) or _new(name, batch.batch_id, None)
                arrived = known.ready_for == batch.batch_id
                found.append(
                    known.model_copy(
                        update={
                            "batch_id": batch.batch_id,
                            "ready_for": None if arrived else known.ready_for,
                        }
                    )
                )
        return sorted(found, key=lambda one: one.consumer)

    def register(self, consumer: str, batch: str = "live", contact: str | None = None) -> Consumer:
        """Say that a downstream model is trained on a batch, which then is not retired.

        Raises:
            BatchError: the batch is neither live nor legacy.
        """
        if not consumer.strip():
            raise InputError("a consumer needs a name")
        chosen = self._lake.batches.get(batch)
        self._lake.batches.move_consumer(consumer, chosen.batch_id)
        old = next((one for one in self._details() if one.consumer == consumer), None)
        new = _new(consumer, chosen.batch_id, contact or (old.contact if old else None))
        if old:
            new = new.model_copy(update={"registered_at": old.registered_at})
        return self._write(new)

    def ready(self, consumer: str, batch: str) -> Consumer:
        """Say that a downstream model can read a batch: it moves when that is live, or at once.

        Raises:
            BatchError: the batch cannot be read.
            InputError: there is no such consumer.
        """
        known = self.get(consumer)
        chosen = self._lake.batches.get(batch)
        if chosen.state not in READABLE:
            raise BatchError(f"batch {chosen.batch_id} is {chosen.state}: nobody can read it")
        if chosen.state == "live":
            return self.register(consumer, chosen.batch_id)
        now = datetime.now(UTC)
        return self._write(
            known.model_copy(update={"ready_for": chosen.batch_id, "updated_at": now})
        )

    def get(self, consumer: str) -> Consumer:
        """The consumer of that name.

        Raises:
            InputError: there is none.
        """
        known = {one.consumer: one for one in self.all()}
        if consumer not in known:
            raise InputError(
                f"no consumer {consumer!r}: there are {', '.join(known) or 'none'}; "
                "`tasteprint consumers register` makes one"
            )
        return known[consumer]

    def remove(self, consumer: str) -> None:
        """Forget a downstream model; its batch may be retired then.

        Raises:
            InputError: there is no such consumer.
        """
        self.get(consumer)
        self._lake.batches.move_consumer(consumer, None)
        self._lake.ensure("consumers").delete(f"consumer = '{_quoted(consumer)}'")

    def ready_for(self, batch: Batch) -> set[str]:
        """Names of the consumers that move along when the batch is promoted."""
        return {one.consumer for one in self.all() if one.ready_for == batch.batch_id}

    def _details(self) -> list[Consumer]:
        if not self._lake.exists("consumers"):
            return []
        rows = self._lake.rows("consumers").to_pylist()
        return [Consumer.model_validate(row) for row in rows]

    def _write(self, consumer: Consumer) -> Consumer:
        schema = contract("consumers").arrow_schema
        (
            self._lake.ensure("consumers")
            .merge(
                pa.Table.from_pylist([consumer.model_dump()], schema=schema),
                "old.consumer = new.consumer",
                source_alias="new",
                target_alias="old",
            )
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )
        return consumer


def _new(consumer: str, batch_id: str, contact: str | None) -> Consumer:
    now = datetime.now(UTC)
    return Consumer(
        consumer=consumer, batch_id=batch_id, contact=contact, registered_at=now, updated_at=now
    )


def _quoted(text: str) -> str:
    return text.replace("'", "''")
