"""``tasteprint export``: the vectors of a batch as files for other programs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.places import placed_items
from lakehouse.ann import IndexConfig
from lakehouse.exporting import export
from lakehouse.side_car import Asked, Dtype, Format
from tasteprint.settings import OnLakehouse

if TYPE_CHECKING:
    from lakehouse.side_car import Index, SideCar

console = Console(highlight=False)
MIB = 2**20


class Export(OnLakehouse):
    """Write the vectors of a batch as files: Parquet, a NumPy memory map, a faiss index.

    They lie in BATCH/vVERSION below exports/ of the lakehouse, or below --out; a refresh makes
    another version. What is there already is not made again. Users and items are written: both
    lie on one sphere, so the items nearest to a user are candidates for them. `forget` and `vacuum`
    know exports in the lakehouse alone: of those elsewhere you take care.
    """

    batch: CliPositionalArg[str] = Field(default="live", description="An id, or live, or legacy.")
    out: str | None = None
    """Folder or URI, instead of exports/ of the lakehouse."""
    format: tuple[Format, ...] = ("parquet", "npy")
    """Any of parquet, npy (with ids as an Arrow file) and faiss, which brings npy."""
    dtype: Dtype = "float32"
    """Of the memory map; float16 halves it. Parquet is float32."""
    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of the nearest that the index shall find; it warns if it does not."""
    recall_at: int = Field(default=10, ge=1, le=100)
    """Of how many nearest; candidates are usually many, and need more cells searched."""
    index: IndexConfig = IndexConfig()
    """What the index is made of."""
    force: bool = False
    """Make it again though it is there."""

    def cli_cmd(self) -> None:
        """Say where it lies, and what the indexes find."""
        lake = self.lake
        batch = lake.batches.get(self.batch)
        asked = Asked(
            formats=self.format,
            dtype=self.dtype,
            recall=self.recall,
            recall_at=self.recall_at,
            index=self.index,
        )
        place, side_car, made = export(
            lake,
            batch,
            asked,
            functools.partial(placed_items, lake, batch),
            self.out,
            force=self.force,
            say=lambda said: console.print(said, markup=False),
        )
        if not made:
            console.print("It is there already; --force makes it again.")
        _describe(side_car)
        console.print(f"Batch {side_car.batch_id} in {place}", markup=False, soft_wrap=True)


def _describe(side_car: SideCar) -> None:
    """Print sizes, and for an index what it finds beside exact search."""
    table = Table(box=None)
    titles = ("", "rows", "MiB", "index", "recall of 10", "of 100", "searches/s", "exact")
    for title in titles:
        table.add_column(title, justify="left" if title in ("", "index") else "right")
    for name, side in side_car.sides.items():
        size = sum(file.size for file in side.files) / MIB
        table.add_row(name, f"{side.rows:,}", f"{size:,.1f}", *_index(side.index))
    console.print(table)
    for name, side in side_car.sides.items():
        if side.index and not side.index.measured.reached:
            found = side.index.measured
            console.print(
                f"[yellow]warned[/] the index of {name} finds {found.recall[found.target_at]:.1%} "
                f"of the nearest {found.target_at}, and {found.target:.1%} were asked for: more "
                "codes (--index.m) find more, and whole vectors (--index.kind ivf_flat) all",
                soft_wrap=True,
            )


def _index(index: Index | None) -> tuple[str, ...]:
    if index is None:
        return ()
    found, made = index.measured, index.parameters.model_dump(exclude_defaults=True)
    kind = made.pop("kind")
    return (
        escape(" ".join([kind, *(f"{name}={value}" for name, value in made.items())])),
        f"{found.recall[10]:.3f}",
        f"{found.recall[100]:.3f}",
        f"{found.queries_per_second[100]:,.0f}",
        f"{found.exact_queries_per_second:,.0f}",
    )
