"""What the API's own description says of it is true: schemathesis asks, and finds nothing."""

import asyncio
import socket
import subprocess
import threading

import pytest
import uvicorn

from lakehouse.folder_log import FolderWriter
from ray_apps.nrt_api import build_api
from ray_apps.nrt_items import KnownItems
from ray_apps.nrt_service import Limits, NrtService
from ray_apps.tokens import Tokens
from tests.conftest import BIN
from tests.ray_apps.test_nrt_api import WORDS, Here

# What fits its schema may name an item or a batch that nobody knows, or somebody who was erased.
SETTINGS = """
[[operations]]
include-path-regex = "^/v1/(events|embed)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "410", "422"]
"""
KNOWN = """
[parameters]
"path.user_id" = "u3"
"""


@pytest.fixture
def served(nrt):
    """The API on loopback, on a small batch; its URL, and a token that may do everything."""
    space, writer = nrt.serve(), FolderWriter(nrt.log)
    service = NrtService(
        nrt.store, writer, KnownItems(nrt.lake), nrt.key, nrt.metrics, Limits(backlog=1 << 40)
    )

    async def ready():
        await asyncio.sleep(0)

    tokens = Tokens.from_text(f"a:admin:{WORDS['admin']}")
    app = build_api(service, tokens, Here(nrt.lake, space), nrt.metrics, ready)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", WORDS["admin"]
        server.should_exit = True
        thread.join()
    writer.close()


@pytest.mark.parametrize(
    ("settings", "flags"), [(SETTINGS, []), (KNOWN, ["--include-method", "GET"])]
)
def test_the_description_is_kept_whatever_is_asked(settings, flags, served, tmp_path):
    url, token = served
    (tmp_path / "schemathesis.toml").write_text(settings)
    done = subprocess.run(
        [
            str(BIN / "schemathesis"),
            *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *("--seed", "1", "--max-examples", "25", "--no-color", *flags),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
