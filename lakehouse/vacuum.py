"""The one place that removes what no batch needs any more.

What stays of a table: the files of its newest version, and of every version that a batch pins until
it is retired. Of a retired batch nothing stays but its row in the registry, its steps and its
report; of exports those stay that hold the rows that a batch has. A failed batch keeps everything,
for an override may let it go on: retire it first.

A version of a table that is cut by batch holds the rows of every batch of its day. So that a batch
does not keep the rows of others alive, those of retired ones are deleted from the newest version,
and the others are pointed to it. All of this may be repeated after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.export_folders import needless_exports, remove_export
from lakehouse.versions import Files
from schemas.contract import contract_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

RETENTION_HOURS = 168  # a reader of what was the newest version may take that long
FOLDERS_OF_A_BATCH = ("models", "checkpoints", "staging")
UNFINISHED = ("building", "failed")  # their files may be there before a commit names them


@dataclass(frozen=True)
class Removed:
    """What was removed of a table, or of a folder of the lakehouse."""

    what: str
    files: int
    size: int
    """Bytes."""


def vacuum(
    lake: Lakehouse,
    retention_hours: int = RETENTION_HOURS,
    *,
    unfinished: bool = False,
    dry_run: bool = False,
) -> list[Removed]:
    """Remove retired batches, and the files that no version which is still needed refers to.

    Args:
        lake: the lakehouse.
        retention_hours: files that became needless later than that stay, except a retired batch's.
        unfinished: also remove files of unfinished batches that no commit names yet. They are made
            again; nothing may be writing them.
        dry_run: say what would be removed, and change nothing.
    """
    batches = lake.batches.list()
    retired = _ids(batches, "retired")
    if retired and not dry_run:
        for table in contract_names():
            _let_go(lake, table, batches)
        batches = lake.batches.list()
    under_way = [*_ids(batches, *UNFINISHED), *(one.batch_id for one in batches if one.refresh)]
    removed = []
    for table in contract_names():
        sizes = _sizes(lake, lake.table_uri(table))
        needless = _needless(lake, table, batches, retention_hours) & sizes.keys()
        if dry_run:
            needless |= {name for name in sizes if _is_of(name, retired)}
        if not unfinished:
            needless = {name for name in needless if not _is_of(name, under_way)}
        if not lake.exists(table):  # the first batch to write it has committed nothing yet
            needless = set(sizes) if unfinished else set()
        removed.append(_remove(lake, f"tables/{table}", sizes, needless, dry_run=dry_run))
    used = {one.model_uri for one in _kept(batches)}  # a rebuilt batch has its original's model
    for batch_id in retired:
        for kind in FOLDERS_OF_A_BATCH:
            if kind == "models" and lake.model_uri(batch_id) in used:
                continue
            sizes = _sizes(lake, f"{lake.uri}/{kind}/{batch_id}")
            place = f"{kind}/{batch_id}"
            removed.append(_remove(lake, place, sizes, sizes.keys(), dry_run=dry_run))
    removed += _let_go_exports(lake, batches, retention_hours, dry_run=dry_run)
    return [part for part in removed if part.files]


def _gathered(lake: Lakehouse, table: str) -> dict[int, int]:
    """Let the newest version hold, of each batch, the rows that the batch pins.

    They differ where a refresh was dropped, or a step died before its batch knew of its commit.

    Args:
        lake: the lakehouse.
        table: one that is cut by batch.

    Returns:
        the newest version for each that a batch pins, as ``BatchRegistry.repin`` takes it; without
        those of batches whose refresh is under way, which have two versions of their rows.
    """
    batches = [batch for batch in _kept(lake.batches.list()) if table in batch.tables]
    stay = {batch.tables[table] for batch in batches if batch.refresh}
    moved = [batch for batch in batches if batch.tables[table] not in stay]
    files = Files(lake, table)
    for batch in moved:
        files.put(files.of(batch.tables[table], batch.batch_id), batch.batch_id)
    newest_version = lake.open(table).version()
    return {batch.tables[table]: newest_version for batch in moved}


def cut_by_batch(lake: Lakehouse, table: str) -> bool:
    """Whether the table holds the rows of many batches, each in a partition of its own."""
    return lake.open(table).metadata().partition_columns == ["batch_id"]


def pinned_versions(batches: Collection[Batch], table: str) -> set[int]:
    """The versions of a table that must stay readable for the sake of those not retired."""
    return {version for batch in _kept(batches) for name, version in batch.pins() if name == table}


def _kept(batches: Collection[Batch]) -> list[Batch]:
    return [batch for batch in batches if batch.state != "retired"]


def _ids(batches: Collection[Batch], *states: str) -> list[str]:
    return [batch.batch_id for batch in batches if batch.state in states]


def _is_of(name: str, batch_ids: Collection[str]) -> bool:
    """Whether a file, by its path below the table's folder, is of one of the batches."""
    return any(name.startswith(f"batch_id={batch_id}/") for batch_id in batch_ids)


def _let_go(lake: Lakehouse, table: str, batches: Collection[Batch]) -> None:
    """Delete the rows of retired batches, and point the others to a version without them."""
    if not lake.exists(table) or not cut_by_batch(lake, table):
        return
    retired = _ids(batches, "retired")
    files = Files(lake, table)
    for batch_id in retired:
        files.put([], batch_id)
    pinned = pinned_versions(batches, table)
    if any(_is_of(name, retired) for version in pinned for name in files.of(version)):
        lake.batches.repin({table: _gathered(lake, table)})


def _needless(
    lake: Lakehouse, table: str, batches: Collection[Batch], retention_hours: int
) -> set[str]:
    """Paths below the table's folder of what neither the newest nor a pinned version needs."""
    if not lake.exists(table):
        return set()
    newest = lake.open(table)
    keep = pinned_versions(batches, table) | {newest.version()}
    retired = _ids(batches, "retired")

    def beyond(hours: int) -> set[str]:
        listed = newest.vacuum(
            retention_hours=hours,
            enforce_retention_duration=False,
            full=True,  # files that no commit names as well
            keep_versions=sorted(keep),
        )
        return {path.removeprefix(f"{lake.table_uri(table)}/") for path in listed}

    found = beyond(retention_hours)
    if retired and retention_hours:
        found |= {name for name in beyond(0) if _is_of(name, retired)}
    return found


def _let_go_exports(
    lake: Lakehouse, batches: Collection[Batch], hours: int, *, dry_run: bool
) -> list[Removed]:
    """Remove the exports of rows that no batch has any more."""
    removed = []
    for place in needless_exports(lake, batches, hours):
        sizes = _sizes(lake, place)
        if not dry_run:
            remove_export(lake, place)
        what = place.removeprefix(f"{lake.uri}/")
        removed.append(Removed(what, len(sizes), sum(sizes.values())))
    return removed


def _remove(
    lake: Lakehouse, place: str, sizes: Mapping[str, int], gone: Collection[str], *, dry_run: bool
) -> Removed:
    """Remove some of the files below a folder of the lakehouse."""
    if gone and not dry_run:
        lake.filesystem.rm([f"{lake.uri}/{place}/{name}" for name in sorted(gone)])
    return Removed(place, len(gone), sum(sizes[name] for name in gone))


def _sizes(lake: Lakehouse, folder: str) -> dict[str, int]:
    """Bytes of each file, by its path below a folder; nothing where there is no folder."""
    root = lake.filesystem._strip_protocol(folder)  # noqa: SLF001 - as find names its results
    found = lake.filesystem.find(folder, detail=True)
    return {path.removeprefix(f"{root}/"): info["size"] for path, info in found.items()}
