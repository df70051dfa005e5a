"""``tasteprint forget`` and ``tasteprint vacuum``: what shall not stay, and what need not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.table import Table

from lakehouse.erasure import forget, survey
from lakehouse.vacuum import RETENTION_HOURS, vacuum
from schemas.errors import InputError
from tasteprint.settings import OnLakehouse

if TYPE_CHECKING:
    from collections.abc import Collection

    from lakehouse.storage import Lakehouse

console = Console(highlight=False)
KIB = 1024


class Forget(OnLakehouse):
    """Erase a person from every table, every batch, the quarantine and the history.

    No job may run meanwhile. What other people have in any batch stays as it is; files that still
    name the person bring nobody back. Exports in the lakehouse that hold the person are removed, to
    be made again; those elsewhere are yours to replace. If it is stopped, the same command again
    goes on.
    """

    user_id: CliPositionalArg[str | None] = Field(default=None, description="Whom to forget.")
    from_file: str | None = None
    """File with one user id per line, instead of USER_ID: many people in one pass."""
    dry_run: bool = False
    """Print where the person is and how many versions would be made again; change nothing."""

    def cli_cmd(self) -> None:
        """Say what is done, and end with the receipts."""
        user_ids, lake = self._user_ids(), self.lake
        if self.dry_run:
            self._survey(lake, user_ids)
            return
        receipts = forget(lake, user_ids, _say)
        for receipt in receipts.values():
            found = ", ".join(f"{rows:,} of {name}" for name, rows in receipt.removed.items())
            said = f"rows removed: {found}" if found else "nothing was here; kept out from now on"
            console.print(f"receipt {receipt.erasure_id}: {said}", markup=False, soft_wrap=True)

    def _user_ids(self) -> list[str]:
        if (self.user_id is None) == (self.from_file is None):
            raise InputError("give either a USER_ID or --from-file FILE")
        if self.from_file is None:
            return [self.user_id or ""]
        try:
            lines = Path(self.from_file).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.from_file} cannot be read as text: {error}") from error
        return [line.removesuffix("\r") for line in lines if line.strip()]

    def _survey(self, lake: Lakehouse, user_ids: Collection[str]) -> None:
        found = survey(lake, user_ids)
        if not found:
            console.print("Nothing is here of whom you named.")
            return
        table = Table("table", box=None)
        for title in ("rows", "versions"):
            table.add_column(title, justify="right")
        for name, place in found.items():
            table.add_row(name, f"{place.rows.total():,}", f"{len(place.versions)}")
        console.print(table)


class Vacuum(OnLakehouse):
    """Remove retired batches, old files that no batch pins, and exports of rows that no batch has.

    A failed batch keeps everything: retire it first. Files that a batch under way has written stay.
    """

    retention_hours: int = Field(default=RETENTION_HOURS, ge=0)
    """Hours for which files stay that are needed no more, except those of retired batches."""
    dry_run: bool = False
    """Print what would be removed, and remove nothing."""

    def cli_cmd(self) -> None:
        """Print what was removed, by table and folder."""
        removed = vacuum(self.lake, self.retention_hours, dry_run=self.dry_run)
        if not removed:
            console.print("Nothing to remove.")
            return
        table = Table("to be removed" if self.dry_run else "removed", box=None)
        for title in ("files", "KiB"):
            table.add_column(title, justify="right")
        for part in removed:
            table.add_row(part.what, f"{part.files:,}", f"{part.size / KIB:,.0f}")
        console.print(table)


def _say(said: str) -> None:
    console.print(said, markup=False, soft_wrap=True)
