"""Where a person may be named outside of the rows that are theirs, and taking the name out there.

Texts that quote values (what a gate found, why somebody overruled it, metrics), reports made of
them, and what a process that died has left behind. Nothing here may run beside a job.
"""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from lakehouse.arrow import delta_dataset
from lakehouse.report import write_report
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Collection

    from lakehouse.storage import Lakehouse

ERASED = "(erased)"
TEXTS = {
    "validations": ("examples", "worst", "overridden"),
    "overrides": ("overridden_by", "reason"),
}
LEFTOVERS = ("staging", "checkpoints")  # whoever needs what was there makes it again


class Names:
    """Finds the ids of some people in texts, where they stand as words of their own.

    ``u1`` is in ``b7 / u1`` and not in ``u12``: where something else happens to be spelled like an
    id, too much is taken out rather than too little.

    Args:
        user_ids: at least one.
    """

    def __init__(self, user_ids: Collection[str]) -> None:
        longest_first = sorted(user_ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_as_word, longest_first)))

    def without(self, value: Any) -> Any:
        """The same text, or texts in lists and mappings, with ``(erased)`` for each id."""
        match value:
            case str():
                return self._pattern.sub(ERASED, value)
            case list():
                return [self.without(inner) for inner in value]
            case dict():
                return {key: self.without(inner) for key, inner in value.items()}
        return value


def _as_word(user_id: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", user_id) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", user_id) else ""
    return before + re.escape(user_id) + after


def erase_traces(lake: Lakehouse, user_ids: Collection[str]) -> None:
    """Take ids out of every text of the lakehouse, and remove leftovers; may be repeated."""
    names = Names(user_ids)
    for table, columns in TEXTS.items():
        if lake.exists(table):
            _rewrite_texts(lake, table, columns, names)
    _rewrite_metrics(lake, names)
    _rewrite_reports(lake, names)
    for folder in LEFTOVERS:
        if lake.filesystem.exists(f"{lake.uri}/{folder}"):
            lake.filesystem.rm(f"{lake.uri}/{folder}", recursive=True)


def _rewrite_texts(lake: Lakehouse, table: str, columns: Collection[str], names: Names) -> None:
    stored = lake.ensure(table)
    rows = contract(table).conform(delta_dataset(stored).to_table())
    cleaned = rows
    for column in columns:
        texts = pa.array(names.without(rows[column].to_pylist()), rows.schema.field(column).type)
        place = rows.schema.names.index(column)
        cleaned = cleaned.set_column(place, rows.schema.field(column), texts)
    if cleaned != rows:
        write_deltalake(
            stored,
            cleaned,
            mode="overwrite",
            commit_properties=CommitProperties(max_commit_retries=0),  # or lose what came meanwhile
        )


def _rewrite_metrics(lake: Lakehouse, names: Names) -> None:
    for batch in lake.batches.list():
        if batch.metrics is None:
            continue
        told = json.loads(batch.metrics)
        if names.without(told) != told:
            lake.batches.record(batch.batch_id, metrics=json.dumps(names.without(told)))


def _rewrite_reports(lake: Lakehouse, names: Names) -> None:
    """Render the reports that name somebody again, and remove those that were not finished."""
    files = lake.filesystem
    for place in files.find(f"{lake.uri}/reports"):
        folder, name = place.rsplit("/", 1)
        if name != "index.html":
            files.rm(place)
            continue
        said = html.unescape(files.cat_file(place).decode())
        if names.without(said) != said:
            write_report(lake, folder.rsplit("/", 1)[-1])
