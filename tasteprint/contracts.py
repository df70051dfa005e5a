"""``tasteprint contracts``: are they complete, what changed, and what do they say."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import CliApp, CliPositionalArg, CliSubCommand
from rich.console import Console

from schemas.compatibility import compare
from schemas.contract import FOLDER, contract, contract_names
from schemas.docs import render
from schemas.lint import lint, read_contracts
from schemas.settings import Settings

console = Console(highlight=False)
OURS = Path(str(FOLDER))  # the package is always installed as files
STYLES = {"breaking": "red", "additive": "green", "wording": "dim"}


class ContractsLint(Settings):
    """Check that every contract is valid and complete, and list all findings at once."""

    path: CliPositionalArg[Path | None] = Field(
        default=None, description="A folder of contracts or one file; ours if not given."
    )

    def cli_cmd(self) -> None:
        """Say how many are complete, or what is missing."""
        console.print(f"{lint(self.path or OURS)} contracts are complete")


class ContractsDiff(Settings):
    """Say what changed between two versions of contracts, breaking changes first.

    A breaking change needs a new major version, an additive one a new minor version, other words
    a new patch version; without, the exit status is 2.
    """

    old: CliPositionalArg[Path] = Field(description="A folder of contracts or one file.")
    new: CliPositionalArg[Path | None] = Field(
        default=None, description="The same, newer; ours if not given."
    )

    def cli_cmd(self) -> None:
        """Print each change, or refuse."""
        found = compare(read_contracts(self.old), read_contracts(self.new or OURS))
        order = list(STYLES)
        for change in sorted(found, key=lambda change: order.index(change.level)):
            style = STYLES[change.level]
            said = f"[{style}]{change.level:8}[/] {change.table}: {change.sentence}"
            console.print(said, soft_wrap=True)
        if not found:
            console.print("no changes")


class ContractsDocs(Settings):
    """Write the catalogue of all tables, with lineage, as one HTML page."""

    out: Path = Path("contracts.html")
    """File to write."""

    def cli_cmd(self) -> None:
        """Write the page, and say where it is."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        page = render([contract(name) for name in contract_names()])
        self.out.write_text(page, encoding="utf-8")
        console.print(f"{self.out}", soft_wrap=True)


class Contracts(Settings):
    """Check contracts, compare two versions of them, or make a page of them."""

    lint: CliSubCommand[ContractsLint]
    """Whether every contract is valid and complete."""
    diff: CliSubCommand[ContractsDiff]
    """What changed between two versions, and whether the version numbers say so."""
    docs: CliSubCommand[ContractsDocs]
    """A catalogue of all tables as one HTML page."""

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self)
