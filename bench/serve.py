r"""The near-real-time service over HTTP, beside bare servers that do the same or less.

::

    python bench/serve.py --lakehouse URI
    python bench/serve.py --lakehouse URI --parts soak --soak 900
    uv venv DIR && uv pip install --python DIR/bin/python 'feast[redis]'
    python bench/serve.py --lakehouse URI --parts stores --feast-python DIR/bin/python

Starts the service as a person does, on the live batch of a lakehouse (a small one is made if none
is given), with a store, a log and ports of its own, and sends requests from this machine. Parts:

``events``: plays, one a request, over 32 connections, until the backlog is empty: how many became
vectors per second. Each is of another user than those around it, so that no two share a vector.
Beside it uvicorn and PyTorch that make the vector within the request, with the batch's own features
and model, in one process and in two; nothing that they know outlives them.

``reads``: vectors, through the front and through the replica's own listener, as JSON and as bytes;
beside uvicorn that answers with as many constant bytes.

``latency``: the same at half of what was just measured. One more connection posts a play and asks
for the vector until it is a newer one.

``stores``: see ``bench/serve_stores.py``; ``soak``: see ``bench/serve_soak.py``.

Peers are measured in turn with the service, which idles beside them on the same cores. Ratios are
ours over the peer's. Each measurement is a line of JSON, which says what sent the load.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic_core import from_json
from serve_lake import make_live_batch, play, reads_of
from serve_load import BINARY, JSON, load
from serve_peers import peer
from serve_process import asked, free_ports, serving
from serve_soak import soak
from serve_stores import stores
from session import said

from lakehouse.storage import Lakehouse
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from serve_load import Ask, Load
    from serve_process import Service

Part = Literal["events", "reads", "latency", "stores", "soak"]
MADE_USERS = 2_000  # of the lakehouse that is made
LOOKS = 0.001  # seconds between two looks at a vector
BETWEEN = 0.02  # seconds between two plays of the probe
GIVE_UP = 10.0  # seconds for a vector


class ServeBench(Settings):
    """Measure the service."""

    lakehouse: str | None = None
    """Lakehouse with a live batch; a small one is made without it."""
    parts: tuple[Part, ...] = ("events", "reads", "latency")
    """What is measured."""
    users: int = 20_000
    """Users of the batch who are played and asked for, at most."""
    connections: int = 32
    """Of the load."""
    seconds: int = 10
    """Of each measurement."""
    repeats: int = 3
    """How often each is measured."""
    replicas: int = 1
    """Processes of the service that answer."""
    soak: int = 900
    """Seconds of the soak."""
    feast_python: str | None = None
    """Python of an environment with feast[redis]; Feast is left out without it."""
    folder: str | None = None
    """Where a temporary folder is made for what is written."""


def main(argv: Sequence[str] | None = None) -> None:
    """Start the service and measure it."""
    args = ServeBench.parse(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        lake = Lakehouse(args.lakehouse or f"{folder}/lake")
        if args.lakehouse is None:
            make_live_batch(lake, min(args.users, MADE_USERS))
        # Nothing is held back, for there is nothing to measure in what is not published.
        flags = ["--jump", "2", "--replicas", str(args.replicas)]
        with serving(lake, Path(folder), args.users, *flags) as service:
            said(
                part="service",
                space=service.space,
                users=len(service.users),
                replicas=args.replicas,
            )
            for part in args.parts:
                PARTS[part](service, args)


def events(service: Service, args: ServeBench) -> None:
    """Events that became vectors, beside uvicorn and PyTorch."""
    asks = service.plays()
    port, other = free_ports(2)
    flags = ["--lakehouse", service.lake.uri, "--space", service.space]
    flags += ["--store", f"{service.folder}/online"]
    with peer(port, 1, *flags) as one, peer(other, 2, *flags) as two:
        for repeat in range(args.repeats):
            ours = worked_off(service, asks, args)
            peers = {
                name: _sent(url, asks, service.token, args)
                for name, url in (("uvicorn", one), ("uvicorn, two processes", two))
            }
            _line("events", repeat, "service", **ours)
            for name, found in peers.items():
                _line(
                    "events",
                    repeat,
                    name,
                    events_per_second=round(found.per_second),
                    errors=found.errors,
                    by=found.by,
                    ours_to_it=round(ours["events_per_second"] / found.per_second, 2),
                )


def worked_off(service: Service, asks: Sequence[Ask], args: ServeBench) -> dict[str, Any]:
    """Send events, wait until all are in vectors, and say how many that were per second."""
    before = service.published()
    found = _sent(service.front, asks, service.token, args)
    drained = service.wait_until_done()
    whole = found.seconds + drained
    return {
        "events_per_second": round(found.good / whole),
        "accepted_per_second": round(found.per_second),
        "vectors_per_second": round((service.published() - before) / whole),
        "drained_s": round(drained, 2),
        "errors": found.errors,
        "by": found.by,
    }


def reads(service: Service, args: ServeBench) -> None:
    """Vectors that were read, beside uvicorn that answers with constant bytes."""
    path = service.reads(JSON)[0].path
    lengths = {
        accept: len(asked(f"{service.direct}{path}", service.token, accept))
        for accept in (JSON, BINARY)
    }
    ports = free_ports(len(lengths))
    with ExitStack() as started:
        bare = {
            accept: started.enter_context(peer(port, 1, "--constant", str(length)))
            for port, (accept, length) in zip(ports, lengths.items(), strict=True)
        }
        for repeat in range(args.repeats):
            for accept, length in lengths.items():
                asks = service.reads(accept)
                peers = _sent(bare[accept], asks, service.token, args)
                told = {"accept": accept, "bytes": length}
                _line("reads", repeat, "uvicorn", **told, **_reads(peers))
                for name, url in (("front", service.front), ("direct", service.direct)):
                    found = _sent(url, asks, service.token, args)
                    ratio = round(found.per_second / peers.per_second, 2)
                    _line("reads", repeat, name, **told, **_reads(found), ours_to_it=ratio)


def _reads(found: Load) -> dict[str, Any]:
    return {"reads_per_second": round(found.per_second), **_quantiles(found)}


def latency(service: Service, args: ServeBench) -> None:
    """How long an event, and a read, takes at half of what the service can do."""
    plays = service.plays()[1:]  # the first user is the probe
    for repeat in range(args.repeats):
        rate = worked_off(service, plays, args)["events_per_second"] / 2
        seen, found = beside(
            lambda rate=rate: _sent(service.front, plays, service.token, args, rate),
            lambda until: visible(service, until),
        )
        service.wait_until_done()
        quantiles = {f"p{q}_ms": round(float(np.percentile(seen, q)), 2) for q in (50, 99)}
        sent = {"rate": round(rate), "sent_per_second": round(found.per_second), "by": found.by}
        _line("latency", repeat, "event to vector", **quantiles, plays=len(seen), **sent)
        for name, url in (("front", service.front), ("direct", service.direct)):
            asks = reads_of(service.users, JSON)
            rate = _sent(url, asks, service.token, args).per_second / 2
            found = _sent(url, asks, service.token, args, rate)
            sent = {"rate": round(rate), "sent_per_second": round(found.per_second)}
            _line("latency", repeat, f"read, {name}", **_quantiles(found), **sent)


def beside(
    sending: Callable[[], Load], probing: Callable[[Future[Load]], list[float]]
) -> tuple[list[float], Load]:
    """Probe while a load is sent; returns what the probe saw, and the load."""
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(sending)
        seen = probing(sent)
        return seen, sent.result()


def visible(service: Service, until: Future[Any]) -> list[float]:
    """Milliseconds from posting a play until its vector is read, again and again until then."""
    user_id, item_id, seen = service.users[0], service.items[0], []
    (read,) = reads_of([user_id], JSON)
    url = f"{service.front}{read.path}"
    while not until.done():
        before = from_json(asked(url, service.token))["as_of"]
        body = play(user_id, item_id, f"probe-{time.time_ns()}")
        began = time.perf_counter()
        asked(f"{service.front}/v1/events", service.token, body=body)
        while from_json(asked(url, service.token))["as_of"] == before:
            if time.perf_counter() - began > GIVE_UP:
                raise TimeoutError(f"a play of {user_id} is in no vector after {GIVE_UP:g} s")
            time.sleep(LOOKS)
        seen.append((time.perf_counter() - began) * 1e3)
        time.sleep(BETWEEN)
    return seen


def _sent(url: str, asks: Sequence[Ask], token: str, args: ServeBench, rate: float = 0.0) -> Load:
    return load(url, asks, token, connections=args.connections, seconds=args.seconds, rate=rate)


def _quantiles(found: Load) -> dict[str, Any]:
    return {
        "p50_ms": round(found.p50_ms, 2),
        "p99_ms": round(found.p99_ms, 2),
        "errors": found.errors,
        "by": found.by,
    }


def _line(part: Part, repeat: int, what: str, **found: Any) -> None:
    said(part=part, repeat=repeat, what=what, **found)


PARTS: dict[Part, Callable[[Service, ServeBench], None]] = {
    "events": events,
    "reads": reads,
    "latency": latency,
    "stores": lambda service, args: stores(
        service, args.feast_python, seconds=args.seconds, repeats=args.repeats
    ),
    "soak": lambda service, args: soak(service, args.soak, args.connections),
}


if __name__ == "__main__":
    main()
