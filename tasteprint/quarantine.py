"""``tasteprint quarantine``: what was refused and why, and another judgement after a fix."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from itertools import groupby

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.source import load_source, replay_id, require_replayable
from lakehouse.quarantine import SHORT, Choice, faults, find_row, open_rows, replay_summary
from lakehouse.steps import finished_steps
from lakehouse.storage import Lakehouse
from schemas.settings import Settings
from tasteprint.engines import execute, spark_step
from tasteprint.settings import QUICK_START, OnLakehouse

console = Console(highlight=False)


class QuarantineList(OnLakehouse):
    """Count refused rows by ingest, table and kind of fault, with one row of each as an example."""

    table: str | None = None
    """Only rows that were meant for this table."""
    ingest: str | None = None
    """Only rows that this ingest refused."""
    all: bool = False
    """Also faults of which every row was replayed since."""

    def cli_cmd(self) -> None:
        """Print a table for each ingest and table."""
        found = faults(Lakehouse(self.lakehouse), Choice(table=self.table, ingest=self.ingest))
        shown = [fault for fault in found if self.all or fault.replayed < fault.rows]
        if not shown:
            console.print("No refused rows.")
        for (ingest_id, name), group in groupby(shown, lambda f: (f.ingest_id, f.table)):
            console.print(f"[bold]{escape(name)}[/] refused by {escape(ingest_id)}")
            table = Table(box=None)
            for title in ("rows", "replayed"):
                table.add_column(title, justify="right")
            table.add_column("fault", overflow="fold")
            table.add_column("for example", no_wrap=True)
            for fault in group:
                example = (fault.example or "")[:SHORT]
                counts = f"{fault.rows:,}", f"{fault.replayed:,}"
                table.add_row(*counts, escape(fault.kind), example)
            console.print(table)


class QuarantineShow(OnLakehouse):
    """Show one refused row as it came, every reason, and whether it was replayed."""

    row_id: CliPositionalArg[str] = Field(description="Its id, or as much as tells it apart.")

    def cli_cmd(self) -> None:
        """Print the row."""
        row = find_row(Lakehouse(self.lakehouse), self.row_id)
        replayed = "not yet"
        if row["replayed_at"] is not None:
            replayed = f"{row['replayed_at']:%Y-%m-%d %H:%M:%S} UTC, by {row['replayed_by']}"
        lines = [
            f"row {row['row_id']} of {row['table']}",
            f"came in {row['file']}",
            f"refused {row['quarantined_at']:%Y-%m-%d %H:%M:%S} UTC, by {row['ingest_id']}",
            f"replayed {replayed}",
            "for",
            *(f"  - {reason}" for reason in row["reasons"]),
            json.dumps(json.loads(row["row"]), indent=2, ensure_ascii=False),
        ]
        console.print("\n".join(lines), markup=False, soft_wrap=True)


class QuarantineReplay(OnLakehouse):
    """Judge refused rows again after a fix, and take in those that are good now, each once.

    The fix may be in the source file, in a contract, or in what was missing, such as an item that
    the catalogue has by now. Rows that are still bad stay as they are.
    """

    source: str
    """Source file, corrected if that was the fault; its name chooses the rows."""
    table: str | None = None
    """Only rows that were meant for this table."""
    ingest: str | None = None
    """Only rows that this ingest refused, by whichever source."""
    reason: str | None = None
    """Only rows one of whose reasons holds this text."""
    spark_submit: str = QUICK_START
    """More arguments for spark-submit."""
    dry_run: bool = False
    """Print how many rows would be judged again, and the command."""

    def cli_cmd(self) -> None:
        """Run the job, and say what it came to."""
        lake, source = Lakehouse(self.lakehouse), load_source(self.source)
        rows = open_rows(lake, Choice(self.table, self.ingest, source.name, self.reason))
        tables = Counter(rows["table"].to_pylist())
        if not tables:
            console.print("No refused rows to replay.")
            return
        require_replayable(source, tables)
        step = spark_step("replay", "replay", "replay", self._arguments(lake), self.spark_submit)
        for table, count in tables.items():
            console.print(f"{table}: {count:,} refused rows to judge again")
        if self.dry_run:
            console.print(shlex.join(step.command), soft_wrap=True, markup=False)
            return
        execute(step, self.lakehouse, console)
        replayed = replay_id(source, rows["row_id"].to_pylist())
        detail = finished_steps(lake, replayed)["replay"]["detail"]
        for line in replay_summary(detail["tables"], detail["reasons"]):
            console.print(line, markup=False, soft_wrap=True)

    def _arguments(self, lake: Lakehouse) -> list[str]:
        flags = {
            "source": self.source,
            "lakehouse": lake.uri,
            "table": self.table,
            "ingest": self.ingest,
            "reason": self.reason,
        }
        return [part for name, value in flags.items() if value for part in (f"--{name}", value)]


class Quarantine(Settings):
    """List and show refused rows, and replay them after a fix."""

    list: CliSubCommand[QuarantineList]
    """How many rows were refused, by whom and for what."""
    show: CliSubCommand[QuarantineShow]
    """One refused row as it came, and its reasons."""
    replay: CliSubCommand[QuarantineReplay]
    """Judge refused rows again after a fix."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)
