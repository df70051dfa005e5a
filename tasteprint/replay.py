"""``tasteprint replay``: real events into a running service, and a few vectors as they move."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from rich.console import Console

from jobs.source import check_source
from lakehouse.storage import Lakehouse
from ray_apps.nrt_bodies import MOST_EVENTS
from schemas.errors import InputError
from schemas.stores import whole_file
from tasteprint.engines import execute, spark_step
from tasteprint.replay_events import Recorded, busiest, narrowed, of_lakehouse, of_source
from tasteprint.replay_names import ItemNames
from tasteprint.replay_player import Pace, Player
from tasteprint.replay_table import show, summary
from tasteprint.replay_tally import Tally
from tasteprint.replay_watch import Watch
from tasteprint.settings import QUICK_START, Moment, OnLakehouse

if TYPE_CHECKING:
    import pyarrow as pa

TOKEN = "TASTEPRINT_TOKEN"  # noqa: S105 - the name of the variable that holds it
console = Console(highlight=False)


class Replay(OnLakehouse):
    """Play real events into a running service, and watch vectors move.

    Without --source, plays those listens of the lakehouse that its live batch has not seen. The
    token is the text of TASTEPRINT_TOKEN or of a file, never an argument, which others could read.
    Plays of long ago are for a service with --moment events, or are sent --as-now.
    """

    source: str | None = None
    """Source file that maps your columns onto the contracts (sources/*.yaml)."""
    data: str | None = None
    """Folder or URI of the source's files."""
    played_from: Moment | None = None
    """Only what was played then or later; without --source the live batch's moment."""
    users: int | None = Field(default=None, ge=1)
    """Only so many users: those with the most plays."""
    limit: int | None = Field(default=None, ge=1)
    """Only so many events: the first ones."""
    url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://[^/\s]+")
    """Where the service answers."""
    bearer_file: str | None = None
    """File that holds the token and nothing else, where TASTEPRINT_TOKEN does not."""
    speed: float = Field(default=60.0, ge=0)
    """Event time over wall time; 0 for as fast as the service takes them."""
    connections: int = Field(default=32, ge=1)
    """Requests at a time."""
    batch_events: int = Field(default=100, ge=1, le=MOST_EVENTS)
    """Events of one request at most."""
    as_now: bool = False
    """Let each event be played as it is sent, under an id that is new."""
    watch: int = Field(default=4, ge=0)
    """Users to show, those with the most plays."""
    figures: str | None = None
    """File for the figures, as JSON."""
    spark_submit: str = QUICK_START
    """More arguments for spark-submit, which reads the source's files."""

    def cli_cmd(self) -> None:
        """Replay until the end or Ctrl-C, and sum up."""
        if (self.source is None) != (self.data is None):
            raise InputError("--source and --data go together")
        token = _token(self.bearer_file)
        asyncio.run(_require_ready(self.url, token))  # before seconds are spent on reading
        recorded = _recorded(self)
        for reason, count in recorded.left_out.most_common():
            console.print(f"{count:,} left out: {reason}", markup=False, soft_wrap=True)
        rows = narrowed(recorded.rows, self.users, self.limit)
        asyncio.run(_replay(self, token, rows))


def _token(file: str | None) -> str:
    """The token, which no message repeats."""
    said = os.environ.get(TOKEN, "")
    if file is not None:
        try:
            said = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the token in {file} cannot be read: {error}") from error
    if len(said.split()) != 1 or not said.isascii():
        raise InputError(
            f"no token: let {file or TOKEN} hold one and nothing else, see `tasteprint tokens`"
        )
    return said.strip()


async def _require_ready(url: str, token: str) -> None:
    from tasteprint.replay_client import open_service  # aiohttp takes its time to import

    async with open_service(url, token, Tally()) as service:
        await service.require_ready()


def _recorded(args: Replay) -> Recorded:
    if args.source is None or args.data is None:
        return of_lakehouse(args.lake, args.played_from)
    check_source(args.source, args.data)  # what is wrong is said before Spark starts

    def read_listens(flags: list[str]) -> None:
        step = spark_step("read_listens", "read listens", "read_listens", flags, args.spark_submit)
        execute(step, args.lakehouse, console)

    return of_source(args.source, args.data, args.played_from, read_listens)


async def _replay(args: Replay, token: str, rows: pa.Table) -> None:
    """Play, watch and show at the same time; sum up however it ends."""
    from tasteprint.replay_client import open_service

    tally, stopped = Tally(), True
    async with open_service(args.url, token, tally) as service:
        watch = Watch(service, busiest(rows, args.watch), ItemNames(_lake(args)), tally)
        pace = Pace(args.speed, args.batch_events, secrets.token_hex(4) if args.as_now else None)
        player = Player(service, rows, pace, tally, watch.accepted)
        await watch.look()
        await watch.look_at_items()
        playing = asyncio.create_task(_play(player, watch, tally, args.connections))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
        try:
            await playing
            stopped = False
        except asyncio.CancelledError:  # by Ctrl-C, which is no fault
            pass
        finally:
            tally.stop()
            _sum_up(args, tally, watch, stopped=stopped)


async def _play(player: Player, watch: Watch, tally: Tally, connections: int) -> None:
    """Play to the end, and wait until the last event is seen.

    Raises:
        ServiceError: what any of the tasks met first.
    """
    try:
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(watch.follow()),
                group.create_task(watch.refresh()),
                group.create_task(show(console, tally, watch.users)),
            ]
            tally.start(player.events)
            await asyncio.wait([group.create_task(player.connection()) for _ in range(connections)])
            tally.stop()
            await watch.settle()
            await watch.look_at_items()
            for task in beside:
                task.cancel()
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


def _sum_up(args: Replay, tally: Tally, watch: Watch, *, stopped: bool) -> None:
    for line in summary(tally, stopped=stopped):
        console.print(line, markup=False, soft_wrap=True)
    if args.figures is not None:
        users = [
            {"user": user.name, "plays": user.plays, "turned_degrees": round(user.turned, 2)}
            for user in watch.users
        ]
        found = tally.figures() | {"stopped": stopped, "users": users}
        with whole_file(str(Path(args.figures).absolute())) as file:
            file.write(json.dumps(found, indent=2).encode())


def _lake(args: Replay) -> Lakehouse | None:
    """Where items have names, if there is a lakehouse."""
    lake = Lakehouse(args.lakehouse)
    return lake if lake.filesystem.exists(f"{lake.uri}/tables") else None
