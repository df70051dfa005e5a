"""How a replay is shown while it runs, and what is said of it at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tasteprint.replay_tally import COMMON_REASONS, percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tasteprint.replay_tally import Tally
    from tasteprint.replay_watch import Watched

TICK = 0.5  # seconds between two tables on a terminal
QUIET_TICK = 5.0  # seconds between two lines where there is none


async def show(console: Console, tally: Tally, users: Sequence[Watched]) -> None:
    """Show a live table, or lines where nobody sits before a terminal; never ends."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(QUIET_TICK)
            console.print(figures_line(tally), markup=False, soft_wrap=True)
    with Live(live_table(tally, users), console=console, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(TICK)
                live.update(live_table(tally, users), refresh=True)
        finally:
            live.update(live_table(tally, users), refresh=True)


def live_table(tally: Tally, users: Sequence[Watched]) -> Group:
    """Figures, and below them a row for each watched user."""
    table = Table(box=None)
    for name in ("user", "plays", "turned"):
        table.add_column(name, justify="left" if name == "user" else "right", no_wrap=True)
    table.add_column("nearest items", overflow="ellipsis", no_wrap=True)
    for user in users:
        turned = f"{user.turned:.1f}°" if user.vector is not None else "no vector"
        nearest = escape(" · ".join(user.nearest) or "none yet")
        table.add_row(escape(user.name), f"{user.plays:,}", turned, nearest)
    text = Text(figures_line(tally))
    return Group(text, table) if users else Group(text)


def figures_line(tally: Tally) -> str:
    """The figures of the moment in one line."""
    parts = [
        f"{tally.sent:,} of {tally.total:,} events",
        f"{tally.accepted:,} accepted",
        f"{tally.refused:,} refused",
        f"{tally.rate:,.0f}/s",
        f"requests {_milliseconds(tally.answered)}",
        f"visible {_milliseconds(tally.visible)}",
    ]
    if tally.put_off:
        parts.append(f"{tally.put_off:,} put off")
    if tally.behind >= 1:
        parts.append(f"{tally.behind:,.0f} s behind")
    return ", ".join(parts)


def summary(tally: Tally, *, stopped: bool) -> list[str]:
    """What a replay came to: one line, and the commonest reasons of what was refused."""
    begun = "stopped after" if stopped else "replayed in"
    lines = [f"{begun} {tally.elapsed:,.1f} s: {figures_line(tally)}"]
    if tally.unseen:
        lines.append(f"  {tally.unseen:,} accepted events of watched users changed no vector")
    common = tally.reasons.most_common(COMMON_REASONS)
    return lines + [f"  {count:,} refused: {reason}" for reason, count in common]


def _milliseconds(seconds: Sequence[float]) -> str:
    found = percentiles(seconds)
    return f"p50 {found['p50']:,.0f} p99 {found['p99']:,.0f} ms" if found else "none yet"
