"""Load for the service: ``wrk`` where it is installed, a generator of our own where it is not.

Both send the requests of a list in turn, over and over, on connections that stay open; ``{n}`` in a
body becomes a number that no other request has. With a rate they wait between requests, so that
all connections together send so many per second. wrk takes a small part of what ours takes of the
cores, which the service would lack on a small machine; so lines say which one it was.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import aiohttp
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPT = Path(__file__).with_suffix(".lua")
JSON, BINARY = "application/json", "application/octet-stream"
NUMBER = "{n}"
ANY_ERROR = 400  # and above
PATIENCE = 30  # seconds for an answer
By = Literal["wrk", "asyncio"]


class Ask(NamedTuple):
    """One request.

    Attributes:
        method, path: of HTTP.
        body: JSON, with ``{n}`` where a new number belongs; empty for none.
        accept: the media type of the answer.
    """

    method: str
    path: str
    body: str = ""
    accept: str = JSON


@dataclass(frozen=True)
class Load:
    """What came of it.

    Attributes:
        by: what sent it.
        answers: that came, those of a status of 400 and above among them.
        errors: answers of such a status, and what was not answered.
        seconds: that it took.
        p50_ms, p99_ms: quantiles of the milliseconds from a request's sending to its answer.
    """

    by: By
    answers: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def good(self) -> int:
        """Answers of a status below 400."""
        return max(self.answers - self.errors, 0)

    @property
    def per_second(self) -> float:
        """Good answers per second."""
        return self.good / self.seconds


def load(
    url: str,
    asks: Sequence[Ask],
    token: str,
    *,
    connections: int = 32,
    seconds: float,
    rate: float = 0.0,
) -> Load:
    """Send requests for so many seconds.

    Args:
        url: of the service.
        asks: that are sent in turn.
        token: of the bearer.
        connections: each of which waits for an answer before it sends the next request.
        seconds: whole ones for wrk.
        rate: requests per second at most; 0 for as many as are answered.
    """
    stamp = f"bench-{time.time_ns():x}-"
    program = shutil.which("wrk")
    if program is None:
        return asyncio.run(_send(url, _numbered(asks, stamp), token, connections, seconds, rate))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "asks"
        lines = [f"{ask.method}\t{ask.path}\t{ask.accept}\t{ask.body}" for ask in asks]
        file.write_text("\n".join(lines) + "\n")
        options = ["-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}", "-s", str(SCRIPT)]
        options += ["--timeout", str(PATIENCE), "-H", f"Authorization: Bearer {token}"]
        told = [url, "--", str(file), stamp, str(rate)]
        done = subprocess.run(
            [program, *options, *told], capture_output=True, text=True, check=True
        )
    return Load(by="wrk", **json.loads(done.stdout.splitlines()[-1]))


def _numbered(asks: Sequence[Ask], stamp: str) -> Iterator[Ask]:
    for number, ask in enumerate(itertools.cycle(asks)):
        yield ask._replace(body=ask.body.replace(NUMBER, f"{stamp}{number:09d}"))


@dataclass
class _Seen:
    milliseconds: list[float] = field(default_factory=list)
    errors: int = 0


async def _send(
    url: str, asks: Iterator[Ask], token: str, connections: int, seconds: float, rate: float
) -> Load:
    seen, began = _Seen(), time.perf_counter()
    turns = (began + number / rate if rate else began for number in itertools.count())
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        connector=aiohttp.TCPConnector(limit=connections),
    ) as session:
        await asyncio.gather(
            *(
                _connection(session, url, asks, turns, began + seconds, seen)
                for _ in range(connections)
            )
        )
    p50, p99 = np.quantile(seen.milliseconds or [0.0], [0.5, 0.99]).tolist()
    took = time.perf_counter() - began
    return Load("asyncio", len(seen.milliseconds), seen.errors, took, p50, p99)


async def _connection(
    session: aiohttp.ClientSession,
    url: str,
    asks: Iterator[Ask],
    turns: Iterator[float],
    until: float,
    seen: _Seen,
) -> None:
    while (turn := max(next(turns), time.perf_counter())) < until:
        await asyncio.sleep(turn - time.perf_counter())
        ask, began = next(asks), time.perf_counter()
        try:
            async with session.request(
                ask.method,
                f"{url}{ask.path}",
                data=ask.body or None,
                headers={"Accept": ask.accept, "Content-Type": JSON},
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            seen.errors += 1
            continue
        seen.milliseconds.append((time.perf_counter() - began) * 1e3)
        seen.errors += answer.status >= ANY_ERROR
