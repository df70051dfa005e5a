"""The batch registry: which vector space counts, and what each was made from.

A vector is comparable only with vectors of its own batch, so a batch is what is built, checked,
promoted and kept. Every change is one Delta commit of the ``batches`` table, made against the
version that was read: whoever comes second is told, and nothing is overwritten unseen. What has
to hold at every moment is therefore kept in this one table: at most one batch is live, and each
consumer is trained on a batch that can be read.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from lakehouse.arrow import delta_dataset
from lakehouse.batch import SERVED, Batch, Refresh, State
from schemas.contract import contract
from schemas.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from lakehouse.storage import Lakehouse

ATTEMPTS = 10  # of a change that does not mind what others changed meanwhile
PROMOTABLE: tuple[State, ...] = ("candidate", "legacy")
PARTS_OF_A_REFRESH = {"tables", "gates"}


class BatchRegistry:
    """Reads and changes the ``batches`` table of a lakehouse."""

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake

    def list(self) -> list[Batch]:
        """All batches, oldest first."""
        return sorted(self._read()[1].values(), key=lambda batch: batch.batch_id)

    def get(self, name: str) -> Batch:
        """The batch of that id, or the one that is ``live`` now, or was live last (``legacy``).

        Raises:
            BatchError: there is none.
        """
        batches = self.list()
        live = next((batch for batch in batches if batch.state == "live"), None)
        before = live.previous if live else None
        told_by = "state" if name in SERVED else "batch_id"
        matching = [batch for batch in batches if getattr(batch, told_by) == name]
        if not matching:
            known = ", ".join(f"{batch.batch_id} ({batch.state})" for batch in batches) or "none"
            raise BatchError(f"no batch {name!r} in {self._lake.uri}; there are: {known}")
        return max(matching, key=lambda batch: (batch.batch_id == before, batch.batch_id))

    def to_write(self, batch_id: str) -> Batch:
        """The batch as a step that writes it sees it: building, or with its refresh under way.

        Raises:
            BatchError: the batch may not be written.
        """
        batch = self.get(batch_id)
        if batch.refresh is not None:
            return batch.refreshed()
        if batch.state != "building":
            raise BatchError(
                f"batch {batch.batch_id} is {batch.state}: only a batch that is building is "
                "written; open another with `tasteprint batches open`, or bring newer vectors "
                "into this one's space with `tasteprint batches refresh`"
            )
        return batch

    def open(
        self, as_of: datetime, parents: Mapping[str, int], settings: str, code_version: str
    ) -> Batch:
        """Begin a batch: pin its inputs and its moment, in one commit."""
        now = datetime.now(UTC)
        opened: list[Batch] = []

        def add(batches: dict[str, Batch]) -> dict[str, Batch]:
            batch = Batch(
                batch_id=_new_id(now, batches),
                state="building",
                created_at=now,
                updated_at=now,
                as_of=as_of,
                settings=settings,
                code_version=code_version,
                parents=dict(parents),
            )
            opened[:] = [batch]
            return {**batches, batch.batch_id: batch}

        self._change(add, ATTEMPTS)
        return opened[0]

    def record(self, batch_id: str, **changes: Any) -> Batch:
        """Write what a step has made: mappings are merged, everything else is replaced.

        While a refresh is under way, tables and gates are its own until it ends.

        Raises:
            BatchError: there is no such batch, it is in no state to be written, or it would
                change its state without ``promote``, ``rollback`` or ``retire``.
        """
        state = changes.pop("state", None)
        if state not in (None, "candidate", "failed", "building"):
            raise BatchError(f"batch {batch_id} becomes {state} by `tasteprint batches` alone")

        def update(batches: dict[str, Batch]) -> dict[str, Batch]:
            old = _one(batches, batch_id)
            if old.refresh is not None:
                parts = {name: changes[name] for name in PARTS_OF_A_REFRESH & changes.keys()}
                inner = old.refresh.model_copy(update=_merged(old.refresh, parts))
                new = old.changed(refresh=inner)
            else:
                new = old.changed(**_merged(old, changes))
            moves = state is not None and state != old.state
            return {**batches, batch_id: new.becomes(state) if moves else new}

        return self._change(update, ATTEMPTS)[batch_id]

    def promote(
        self,
        batch_id: str,
        ready: Collection[str] = (),
        legacy_until: datetime | None = None,
    ) -> Batch:
        """Make a candidate live and the live batch legacy, in one commit.

        Consumers that are ready for the batch move to it in the same commit.

        Args:
            batch_id: a candidate, or a legacy batch that is to be live again.
            ready: names of the consumers that said they are ready for it.
            legacy_until: until when those that are not are promised the legacy batch.

        Raises:
            BatchError: the batch is no candidate, a consumer is not ready and nothing is promised
                to it, or somebody changed the registry meanwhile.
        """

        def switch(batches: dict[str, Batch]) -> dict[str, Batch]:
            chosen = _one(batches, batch_id)
            if chosen.state not in PROMOTABLE:
                raise BatchError(
                    f"batch {batch_id} is {chosen.state}: only a candidate, whose gates have all "
                    "passed, or a legacy batch can be promoted"
                )
            live = _live(batches)
            waiting = sorted(set(live.consumers) - set(ready)) if live else []
            if waiting and legacy_until is None:
                raise BatchError(
                    f"batch {batch_id} is not promoted: {', '.join(waiting)} "
                    f"{'is' if len(waiting) == 1 else 'are'} not ready for it; wait for "
                    "`tasteprint consumers ready`, or promise them the legacy batch with "
                    "--legacy-until"
                )
            return _switched(batches, live, chosen, set(ready), legacy_until)

        return self._change(switch, attempts=1)[batch_id]

    def rollback(self, batch_id: str | None = None) -> Batch:
        """Make the batch that was live before, or that legacy batch, live again, in one commit.

        Consumers stay with the batch that they are trained on.

        Raises:
            BatchError: nothing was live before, it is retired, or somebody was faster.
        """
        chosen: list[str] = []

        def switch(batches: dict[str, Batch]) -> dict[str, Batch]:
            live = _live(batches)
            back = batch_id or (live.previous if live else None)
            if live is None or back is None:
                raise BatchError("there is no batch that was live before: nothing to go back to")
            chosen[:] = [back]
            return _switched(batches, live, _one(batches, back), set(), None)

        after = self._change(switch, attempts=1)
        return after[chosen[0]]

    def retire(self, batch_id: str) -> Batch:
        """Let go of a batch that nobody reads: its rows and files may be removed.

        Raises:
            BatchError: it is live, or consumers are trained on it.
        """

        def end(batches: dict[str, Batch]) -> dict[str, Batch]:
            chosen = _one(batches, batch_id)
            if chosen.consumers:
                raise BatchError(
                    f"batch {batch_id} is not retired: {', '.join(chosen.consumers)} "
                    "still read it; they move with `tasteprint consumers ready`"
                )
            return {**batches, batch_id: chosen.becomes("retired", refresh=None)}

        return self._change(end, ATTEMPTS)[batch_id]

    def move_consumer(self, consumer: str, batch_id: str | None) -> None:
        """Say, in one commit, which batch a downstream model is trained on; None for no more.

        Raises:
            BatchError: the batch is none that stays readable.
        """

        def move(batches: dict[str, Batch]) -> dict[str, Batch]:
            if batch_id is not None:
                chosen = _one(batches, batch_id)
                if chosen.state not in SERVED:
                    raise BatchError(
                        f"{consumer} cannot be trained on batch {batch_id}, which is "
                        f"{chosen.state}: name the live batch or a legacy one"
                    )
            return {
                name: _with_consumer(batch, consumer, batch_id) for name, batch in batches.items()
            }

        self._change(move, ATTEMPTS)

    def begin_refresh(self, batch_id: str, as_of: datetime, parents: Mapping[str, int]) -> Batch:
        """Begin to bring newer features and vectors into the space of a batch that is served.

        Raises:
            BatchError: the batch is not served, or another refresh of it is under way.
        """

        def begin(batches: dict[str, Batch]) -> dict[str, Batch]:
            chosen = _one(batches, batch_id)
            if chosen.state not in SERVED:
                raise BatchError(
                    f"batch {batch_id} is {chosen.state}: it serves nobody yet or any more"
                )
            if chosen.refresh is not None:
                raise BatchError(f"a refresh of batch {batch_id} is under way already")
            new = Refresh(as_of=as_of, parents=dict(parents))
            return {**batches, batch_id: chosen.changed(refresh=new)}

        return self._change(begin, ATTEMPTS)[batch_id].refreshed()

    def end_refresh(self, batch_id: str, *, keep: bool) -> Batch:
        """Point readers at what a refresh has published, in one commit, or drop it."""

        def end(batches: dict[str, Batch]) -> dict[str, Batch]:
            chosen = _one(batches, batch_id)
            kept = chosen.refreshed() if keep else chosen
            return {**batches, batch_id: kept.changed(refresh=None)}

        return self._change(end, ATTEMPTS)[batch_id]

    def repin(self, versions: Mapping[str, Mapping[int, int]]) -> None:
        """Point every batch from old versions of tables to new ones, in one commit.

        Args:
            versions: by table, the new version that stands for each old one.
        """

        def moved(pins: Mapping[str, int]) -> dict[str, int]:
            return {name: versions.get(name, {}).get(pin, pin) for name, pin in pins.items()}

        def point(batches: dict[str, Batch]) -> dict[str, Batch]:
            after = {}
            for name, batch in batches.items():
                parts: dict[str, Any] = {
                    "parents": moved(batch.parents),
                    "tables": moved(batch.tables),
                }
                if batch.refresh:
                    inner = batch.refresh
                    parts["refresh"] = inner.model_copy(
                        update={"parents": moved(inner.parents), "tables": moved(inner.tables)}
                    )
                after[name] = batch.model_copy(update=parts)
            return after

        self._change(point, ATTEMPTS)

    def _read(self) -> tuple[DeltaTable, dict[str, Batch]]:
        table = self._lake.ensure("batches")
        rows = delta_dataset(table).to_table().to_pylist()
        return table, {row["batch_id"]: Batch.from_row(row) for row in rows}

    def _change(
        self, change: Callable[[dict[str, Batch]], dict[str, Batch]], attempts: int
    ) -> dict[str, Batch]:
        for _ in range(attempts):
            table, batches = self._read()
            after = change(batches)
            rows = [batch.to_row() for batch in after.values()]
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


def _new_id(now: datetime, taken: Collection[str]) -> str:
    """An id that sorts by time and that no batch has: four digits are soon drawn twice."""
    while True:
        batch_id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        if batch_id not in taken:
            return batch_id


def _one(batches: Mapping[str, Batch], batch_id: str) -> Batch:
    if batch_id not in batches:
        raise BatchError(f"no batch {batch_id!r}: see `tasteprint batches list`")
    return batches[batch_id]


def _live(batches: Mapping[str, Batch]) -> Batch | None:
    return next((batch for batch in batches.values() if batch.state == "live"), None)


def _merged(old: Batch | Refresh, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**getattr(old, name), **value} if isinstance(value, dict) else value
        for name, value in changes.items()
    }


def _switched(
    batches: Mapping[str, Batch],
    live: Batch | None,
    chosen: Batch,
    ready: set[str],
    legacy_until: datetime | None,
) -> dict[str, Batch]:
    """The registry with another live batch; whoever is ready moves along."""
    moving = ready & set(live.consumers) if live else set()
    after = dict(batches)
    if live is not None:
        stay = tuple(name for name in live.consumers if name not in moving)
        after[live.batch_id] = live.becomes("legacy", consumers=stay, legacy_until=legacy_until)
    after[chosen.batch_id] = chosen.becomes(
        "live",
        consumers=tuple(sorted({*chosen.consumers, *moving})),
        previous=live.batch_id if live else None,
        legacy_until=None,
    )
    return after


def _with_consumer(batch: Batch, consumer: str, batch_id: str | None) -> Batch:
    names = {*batch.consumers} - {consumer}
    if batch.batch_id == batch_id:
        names.add(consumer)
    consumers = tuple(sorted(names))
    return batch if consumers == batch.consumers else batch.changed(consumers=consumers)
