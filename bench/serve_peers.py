r"""What the service is measured beside: bare uvicorn that answers with constant bytes, or embeds.

::

    python bench/serve_peers.py --port 8100 --constant 2000
    python bench/serve_peers.py --port 8100 --lakehouse URI --store FOLDER --space NAME

The second decodes an event, adds it to the user's state in a dictionary, makes the features and the
vector of the service's own batch, and answers with it. It writes nothing, checks neither tokens nor
events, and what it knows is lost with the process. States begin as the service's store has them.
Any number of processes may listen at one port; each has its own dictionary.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic_core import from_json, to_json

from models.user_state import UserState
from ray_apps.nrt_space import LISTENED
from schemas.contract import contract
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ray_apps.nrt_space import NrtSpace

SOON = 0.5  # seconds
JSON_HEADER = (b"content-type", b"application/json")
SERVES = "Started server process"  # and listens a moment later


class Peer(Settings):
    """Answer on loopback until stopped."""

    port: int = 8100
    """Port to answer at."""
    constant: int | None = None
    """Bytes of the answer; without it the peer embeds."""
    lakehouse: str = ""
    """Lakehouse of the batch that it embeds with."""
    store: str = ""
    """Folder of a service's store, from which states are read."""
    space: str = ""
    """Its space."""


class Constant:
    """Answers with the same bytes always.

    Args:
        length: how many.
    """

    def __init__(self, length: int) -> None:
        self._body = b"x" * length

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        """Answer."""
        await answer(send, self._body)


class Embedder:
    """Answers a play with the user's new vector.

    Args:
        space: of the batch.
        states: by user, what is known of them.
    """

    def __init__(self, space: NrtSpace, states: dict[str, UserState]) -> None:
        self._space, self._states = space, states
        schema = contract("listens").arrow_schema
        self._fields = [schema.field(name) for name in LISTENED]

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await answer(send, self.embed(bytes(body)))

    def embed(self, body: bytes) -> bytes:
        """The vector of a user after one more play, both as JSON."""
        (row,) = from_json(body)["listens"]
        row["played_at"] = datetime.fromisoformat(row["played_at"])
        columns = [pa.array([row.get(field.name)], field.type) for field in self._fields]
        plays = self._space.plays(pa.Table.from_arrays(columns, schema=pa.schema(self._fields)))
        user_id = row["user_id"]
        before = self._states.get(user_id) or UserState.empty()
        state = self._states[user_id] = self._space.states.add(before, plays)
        vectors, _ = self._space.embed([state], np.array([time.time_ns() // 1_000]))
        return to_json({"user_id": user_id, "embedding": vectors[0].tolist()})


async def answer(send: Any, body: bytes) -> None:
    """Send an answer of JSON."""
    headers = [JSON_HEADER, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def embedder(args: Peer) -> Embedder:
    """What embeds, with the states of everybody of the live batch who has one."""
    import torch

    from lakehouse.online import open_store
    from lakehouse.storage import Lakehouse
    from ray_apps.nrt_space import NrtSpace

    torch.set_num_threads(1)
    lake = Lakehouse(args.lakehouse)
    batch = lake.batches.get("live")
    space = NrtSpace(lake, batch)
    space.warm_up()
    users = lake.read("user_embeddings", batch, ["user_id"])["user_id"].to_pylist()
    store = open_store(args.store)
    kept = dict(zip(users, store.states(args.space, users), strict=True))
    states = {user: space.bytes.decode(state.value) for user, state in kept.items() if state}
    store.close()
    return Embedder(space, states)


@contextmanager
def peer(port: int, processes: int, *flags: str) -> Iterator[str]:
    """So many processes of this script at one port, as long as they are measured; gives the URL."""
    command = [sys.executable, str(Path(__file__).resolve()), "--port", str(port), *flags]
    started = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    try:
        for process in started:
            _wait_until_it_serves(process)
        time.sleep(SOON)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in started:
            process.terminate()
            process.wait()


def _wait_until_it_serves(process: subprocess.Popen[str]) -> None:
    lines = []
    for line in process.stderr or ():
        lines.append(line)
        if SERVES in line:
            return
    raise RuntimeError(f"a peer ended; it said: {''.join(lines[-20:])}")


def main(argv: Sequence[str] | None = None) -> None:
    """Answer until stopped."""
    import uvicorn

    args = Peer.parse(argv)
    app = embedder(args) if args.constant is None else Constant(args.constant)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", args.port))
        config = uvicorn.Config(
            app, loop="uvloop", http="httptools", lifespan="off", access_log=False
        )
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
