"""``tasteprint neighbors``: what lies near an item, by name, for a person to judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.item_neighbours import nearest_items
from schemas.errors import InputError
from tasteprint.settings import OnLakehouse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.item_neighbours import Neighbour

console = Console(highlight=False)


class Neighbors(OnLakehouse):
    """Show the items nearest to an item: names beside cosines.

    What is played together, or described alike, should stand together here.
    """

    item_ids: CliPositionalArg[tuple[str, ...]] = Field((), description="Ids of items.")
    batch: str = "live"
    """A batch: id, live or legacy."""
    k: int = Field(10, ge=1)
    """Neighbours of each item."""
    kind: Literal["track", "episode"] | None = None
    """Only such neighbours; tracks and episodes lie in one space."""
    from_file: str | None = None
    """A file with more ids, one a line."""

    def cli_cmd(self) -> None:
        """Print a table per item."""
        wanted = list(dict.fromkeys([*self.item_ids, *_listed(self.from_file)]))
        if not wanted:
            raise InputError("name an item, or a file of them with --from-file")
        lake = self.lake
        found = nearest_items(lake, lake.batches.get(self.batch), wanted, self.k, self.kind)
        for item_id, rows in found.items():
            _show(item_id, rows)


def _listed(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return [line.strip() for line in lines if line.strip()]


def _show(item_id: str, rows: Sequence[Neighbour]) -> None:
    table = Table(box=None, title=escape(f"Nearest to {item_id}"), title_justify="left")
    for name in ("", "cosine", "title", "creator", "kind", "plays", "vector from", "item"):
        right = name in ("", "cosine", "plays")
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "item")
    for rank, row in enumerate(rows):
        table.add_row(
            str(rank) if rank else "",
            f"{row.cosine:.3f}",
            escape(row.title),
            escape(row.creator),
            row.kind,
            str(row.support),
            row.source,
            escape(row.item_id),
        )
    console.print(table)
