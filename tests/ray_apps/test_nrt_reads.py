import asyncio
import json

import numpy as np
import pytest

from lakehouse.online import unpack_vector
from ray_apps.nrt_reads import Door, FastReads
from ray_apps.nrt_service import Limits, NrtService
from ray_apps.tokens import Tokens

TOKEN = "reader-token-123456"  # noqa: S105 - of this test


@pytest.fixture
def reads(nrt):
    """Fast reads before an application that says that it was asked."""
    space = nrt.serve()

    async def rest(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    service = NrtService(
        nrt.store, None, lambda _: True, nrt.key, nrt.metrics, Limits(stale_after=1e12)
    )
    tokens = Tokens.from_text(f"r:vectors:read:{TOKEN}".replace("vectors:read", "admin"))
    found = FastReads(rest, service, tokens, nrt.metrics)
    found.space = space
    return found


def ask(reads, path, query=b"", **headers):
    said = {"authorization": f"Bearer {TOKEN}", **headers}
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in said.items()],
    }
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(reads(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def stored(nrt, reads, user_id):
    return unpack_vector(nrt.store.vectors(reads.space.name, [user_id])[0]).values


def test_a_plain_read_is_answered_as_the_application_would(nrt, reads):
    status, headers, body = ask(reads, "/v1/users/u3/embedding")
    said = json.loads(body)
    assert status == 200
    assert headers[b"content-length"] == b"%d" % len(body)
    assert (said["user_id"], said["status"], said["source"]) == ("u3", "fresh", "batch")
    assert np.allclose(said["embedding"], stored(nrt, reads, "u3"), atol=1e-7)


def test_a_vector_can_be_had_as_bytes_with_its_facts_in_headers(nrt, reads):
    status, headers, body = ask(
        reads, "/v1/users/u3/embedding", b"batch=live", accept="application/octet-stream"
    )
    assert status == 200
    assert np.array_equal(np.frombuffer(body, "<f4"), stored(nrt, reads, "u3"))
    assert headers[b"x-tasteprint-batch-id"].decode() == nrt.live.batch_id
    assert headers[b"x-tasteprint-status"] == b"fresh"


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/v1/users/nobody/embedding", b"", {}),
        ("/v1/users/u3/embedding", b"batch=legacy", {}),
        ("/v1/users/u3/embedding", b"batch=other", {}),
        ("/v1/users//embedding", b"", {}),
        ("/v1/users/u3/items", b"", {}),
        ("/v1/users/u3/embedding", b"", {"authorization": "Bearer wrong"}),
    ],
)
def test_whatever_is_not_plain_is_the_applications(reads, path, query, headers):
    assert ask(reads, path, query, **headers)[0] == 418


def test_a_door_answers_at_a_port_of_its_own_and_shares_it(reads):
    import urllib.request

    async def answered():
        first = Door(reads, "127.0.0.1", 0)
        port = first._socket.getsockname()[1]
        doors = [first, Door(reads, "127.0.0.1", port)]  # as another replica of the machine
        opened = [asyncio.ensure_future(door.open()) for door in doors]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/users/u3/embedding",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
            status = answer.status
        for door in doors:
            door.close()
        await asyncio.gather(*opened)
        return status

    assert asyncio.run(answered()) == 200
