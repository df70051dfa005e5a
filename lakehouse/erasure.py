"""Forgetting people: out of every table, every batch, the quarantine and the history.

A batch pins versions of its inputs, and a version is immutable. So for each version that is pinned
and holds one of the people another is made without them, of the same files but for those that hold
their rows, which are written again; the newest version comes last. Of tables that are cut by batch
one new version does for all, for there a batch reads its own partition only. Then one commit points
every batch to the versions without, and a vacuum removes all others. What other people have in any
batch stays as it was.

For moments the newest version of a table is an old one. ``LAKEHOUSE/erasing.json`` says so, and
whoever reads newest versions asks ``require_no_erasure`` first. It also holds what was done so far:
a process that dies leaves every batch readable, and the same command again goes on.

No id is written anywhere on the way: Delta is given files and never a condition, which it would
log, and its log keeps no ranges of personal columns (``Lakehouse.ensure``). A table that was made
before that rule may name a person in its log for as long as a version of it is pinned, so there
``forget`` refuses. Exports in the lakehouse that held the people are removed; of those elsewhere
nothing is known here. What a person has added to sums stays: to item vectors and to the weights of
models, until those batches are retired.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from lakehouse.batch import READABLE
from lakehouse.export_folders import needless_exports, remove_export
from lakehouse.search import Search
from lakehouse.suppression import erasure_key, subject
from lakehouse.traces import erase_traces
from lakehouse.vacuum import cut_by_batch, pinned_versions, vacuum
from schemas.contract import contract, contract_names
from schemas.errors import BatchError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lakehouse.storage import Lakehouse

STATISTICS = "delta.dataSkippingStatsColumns"


@dataclass(frozen=True)
class Found:
    """Where some people are in one table.

    Attributes:
        newest: its newest version.
        versions: those that hold any of them, and that batches pin or that is the newest.
        rows: how many rows each of them has, in the version where they have most.
    """

    newest: int
    versions: tuple[int, ...]
    rows: Counter[str]


class Subject(BaseModel):
    """One person who is forgotten, without their id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    erasure_id: str
    removed: dict[str, int]
    """Rows by table."""


class Erasing(BaseModel):
    """An erasure under way, as ``erasing.json`` has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requested_at: datetime
    subjects: dict[str, Subject]
    """By keyed hash."""
    newest: dict[str, int]
    """The newest version of each table that holds the people, before anything was changed."""
    pinned: dict[str, list[int]]
    """Other versions of them that have to be made again."""
    versions: dict[str, dict[int, int]] = {}
    """By table, the version without the people for each that is done."""


def require_no_erasure(lake: Lakehouse) -> None:
    """Raise BatchError while people are being erased: the newest versions may be old ones."""
    if lake.filesystem.exists(_marker(lake)):
        raise BatchError(
            f"somebody is being erased from {lake.uri}: wait until `tasteprint forget` has ended; "
            "if it died, give the same command again"
        )


def survey(lake: Lakehouse, user_ids: Collection[str]) -> dict[str, Found]:
    """Where people are: each table that holds any of them, with the versions to be made again."""
    found, batches = {}, lake.batches.list()
    for table in contract_names():
        if "user_id" in contract(table).column_names and lake.exists(table):
            pinned = pinned_versions(batches, table)
            found[table] = _survey_table(lake, table, pinned, user_ids)
    return {table: place for table, place in found.items() if place.rows}


def forget(
    lake: Lakehouse,
    user_ids: Collection[str],
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Subject]:
    """Erase people, and leave a receipt of each in ``erasures``.

    No job may run meanwhile. May be repeated after a crash at any point, with the same ids.

    Args:
        lake: the lakehouse.
        user_ids: whom; people of whom nothing is there are kept out from now on as well.
        say: is told what is done next.

    Returns:
        by user id, the id of the receipt and how many rows each table had.

    Raises:
        InputError: no id was given, or a table's log may name them for good.
        BatchError: the erasure of others was begun and has not ended.
    """
    ids = sorted(set(user_ids))
    if not all(ids) or not ids:
        raise InputError("whom to forget? give a user id that is not empty")
    key = erasure_key(lake)
    state = _begin(lake, ids, key)
    _keep_receipts(lake, state, completed_at=None)
    for batch in lake.batches.list():
        if batch.refresh is not None:  # its rows were made with them: it begins again
            lake.batches.end_refresh(batch.batch_id, keep=False)
    for table in state.newest:
        say(f"erase from {table}")
        if cut_by_batch(lake, table):
            state = _erase_from_batches(lake, table, ids, state)
        else:
            state = _erase_from_versions(lake, table, ids, state)
    say("point the batches to what was made again")
    lake.batches.repin(state.versions)
    _remove_exports(lake, say)
    say("erase from texts and reports")
    erase_traces(lake, ids)
    say("remove old files")
    vacuum(lake, retention_hours=0, unfinished=True)
    _keep_receipts(lake, state, completed_at=datetime.now(UTC))
    lake.filesystem.rm(lake.filesystem.glob(f"{_marker(lake)}*"))  # and what a crash left of it
    return {user_id: state.subjects[subject(key, user_id)] for user_id in ids}


def _begin(lake: Lakehouse, user_ids: Collection[str], key: bytes) -> Erasing:
    """The erasure of these people that is under way, or a new one, written down."""
    place = _marker(lake)
    subjects = {subject(key, user_id): user_id for user_id in user_ids}
    if lake.filesystem.exists(place):
        state = Erasing.model_validate_json(lake.filesystem.cat_file(place))
        if state.subjects.keys() != subjects.keys():
            raise BatchError(
                f"the erasure of somebody else was begun at {state.requested_at:%Y-%m-%d %H:%M} "
                "UTC and has not ended: give that command again first"
            )
        return state
    found = survey(lake, user_ids)
    _require_untold(lake, found)
    now = datetime.now(UTC)
    state = Erasing(
        requested_at=now,
        subjects={
            digest: Subject(
                erasure_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
                removed={t: place.rows[user] for t, place in found.items() if place.rows[user]},
            )
            for digest, user in subjects.items()
        },
        newest={table: place.newest for table, place in found.items()},
        pinned={
            table: [version for version in place.versions if version != place.newest]
            for table, place in found.items()
        },
    )
    _note(lake, state)
    return state


def _require_untold(lake: Lakehouse, tables: Collection[str]) -> None:
    """Raise InputError where the log of a table that holds the people keeps ranges of their ids."""
    told = [t for t in tables if STATISTICS not in lake.open(t).metadata().configuration]
    if told:
        raise InputError(
            f"{', '.join(told)} of {lake.uri} was made before ranges of personal columns were kept "
            "out of the log, which may name the user for as long as a batch pins the table: ingest "
            "your files into a new lakehouse, without the user, and remove this one"
        )


def _survey_table(
    lake: Lakehouse, table: str, pinned: set[int], user_ids: Collection[str]
) -> Found:
    newest = lake.open(table).version()
    search = Search(lake, table, user_ids)
    rows: Counter[str] = Counter()
    holding = []
    for version in sorted(pinned | {newest}):
        here: Counter[str] = sum(map(search.rows_in, search.files.of(version)), Counter())
        rows |= here  # the larger of the two counts
        if here:
            holding.append(version)
    return Found(newest, tuple(holding), rows)


def _erase_from_versions(
    lake: Lakehouse, table: str, user_ids: Collection[str], state: Erasing
) -> Erasing:
    """Make each pinned version again without the people, and the newest last."""
    search = Search(lake, table, user_ids)
    newest = state.newest[table]
    for version in [*sorted(state.pinned[table]), newest]:
        if version not in state.versions.get(table, {}):
            search.files.put(search.without(search.files.of(version)))
            state = _done(lake, state, table, {version: lake.open(table).version()})
    return state


def _erase_from_batches(
    lake: Lakehouse, table: str, user_ids: Collection[str], state: Erasing
) -> Erasing:
    """Make one version for all: of each batch the rows that it pins, without the people."""
    newest = state.newest[table]
    if newest in state.versions.get(table, {}):
        return state
    search = Search(lake, table, user_ids)
    batches = {batch.batch_id: batch for batch in lake.batches.list() if table in batch.tables}
    written = {name.split("/", 1)[0].removeprefix("batch_id=") for name in search.files.of(newest)}
    pinned = {batch_id for batch_id, batch in batches.items() if batch.state != "retired"}
    for batch_id in sorted(written | pinned):
        version = batches[batch_id].tables[table] if batch_id in pinned else newest
        search.files.put(search.without(search.files.of(version, batch_id)), batch_id)
    now = lake.open(table).version()
    versions = dict.fromkeys((batches[batch_id].tables[table] for batch_id in pinned), now)
    return _done(lake, state, table, {**versions, newest: now})


def _remove_exports(lake: Lakehouse, say: Callable[[str], None]) -> None:
    """Remove the exports of rows that no batch has any more, those with the people among them."""
    batches = lake.batches.list()
    readable = {batch.batch_id for batch in batches if batch.state in READABLE}
    for place, batch_id in needless_exports(lake, batches, hours=0).items():
        remove_export(lake, place)
        again = f"; `tasteprint export {batch_id}` makes it again" if batch_id in readable else ""
        say(f"removed {place}{again}")


def _keep_receipts(lake: Lakehouse, state: Erasing, completed_at: datetime | None) -> None:
    """Write a row of ``erasures`` for each person; from the first on, ingest keeps them out."""
    rows = [
        {
            "erasure_id": one.erasure_id,
            "subject": digest,
            "requested_at": state.requested_at,
            "completed_at": completed_at,
            "removed": [f"{table}:{rows}" for table, rows in sorted(one.removed.items())],
        }
        for digest, one in state.subjects.items()
    ]
    (
        lake.ensure("erasures")
        .merge(
            pa.Table.from_pylist(rows, schema=contract("erasures").arrow_schema),
            "old.erasure_id = new.erasure_id",
            source_alias="new",
            target_alias="old",
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )


def _done(lake: Lakehouse, state: Erasing, table: str, versions: dict[int, int]) -> Erasing:
    known: dict[str, dict[int, int]] = defaultdict(dict, state.versions)
    after = state.model_copy(update={"versions": {**known, table: {**known[table], **versions}}})
    _note(lake, after)
    return after


def _note(lake: Lakehouse, state: Erasing) -> None:
    lake.write_text(_marker(lake), state.model_dump_json())


def _marker(lake: Lakehouse) -> str:
    return f"{lake.uri}/erasing.json"
