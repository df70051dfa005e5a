"""Which rows are some people's, file by file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.suppression import values_in
from lakehouse.versions import Files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from lakehouse.storage import Lakehouse

REFUSED = "quarantine"
WHERE_REFUSED = ["row", "event_id", "user_id"]  # of the last, older files have none


class Search:
    """Finds the rows of some people in the files of one table, and writes files without them.

    Each file is read once, however many versions share it.

    Args:
        lake: the lakehouse.
        table: name of the contract.
        user_ids: whom.
    """

    def __init__(self, lake: Lakehouse, table: str, user_ids: Collection[str]) -> None:
        self.files = Files(lake, table)
        self._refused, self._user_ids = table == REFUSED, set(user_ids)
        self._rows: dict[str, Counter[str]] = {}
        self._without: dict[str, str | None] = {}

    def rows_in(self, name: str) -> Counter[str]:
        """How many rows of a file each of the people has."""
        if name not in self._rows:
            columns = WHERE_REFUSED if self._refused else ["user_id"]
            parts = self.files.parts(name, columns)
            self._rows[name] = Counter(user for part in parts for user in self._users(part))
        return self._rows[name]

    def without(self, names: Collection[str]) -> list[str]:
        """The same files, with another for each that holds one of the people."""
        for name in names:
            if name not in self._without:
                held = self.rows_in(name)
                self._without[name] = self.files.rewrite(name, self._gone) if held else name
        kept = (self._without[name] for name in names)
        return [name for name in kept if name is not None]

    def _users(self, part: pa.RecordBatch) -> Iterator[str]:
        if self._refused:
            yield from (user for row in part.to_pylist() for user in self._named(row))
        else:
            yield from part["user_id"].filter(self._gone(part)).to_pylist()

    def _gone(self, part: pa.RecordBatch) -> pa.Array:
        if self._refused:
            return pa.array([bool(self._named(row)) for row in part.to_pylist()], pa.bool_())
        users = part["user_id"].cast(pa.string())  # whatever kind of text an engine has written
        return pc.is_in(users, value_set=pa.array(sorted(self._user_ids), pa.string()))

    def _named(self, refused: Mapping[str, Any]) -> set[str]:
        """Who of the people a row of ``quarantine`` names as a whole value, at any depth."""
        parts = (refused["event_id"] or "").split("/")  # a key of several columns
        keys = {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
        return self._user_ids & {refused.get("user_id"), *keys, *values_in(refused["row"])}
