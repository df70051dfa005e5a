"""``tasteprint serve`` and ``tasteprint tokens``: the service, and who may ask it."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from ray_apps.haproxy_front import ADDRESS, CERTIFICATE, READS
from ray_apps.nrt_settings import ServeNrt
from ray_apps.tokens import Scope, Tokens, new_token
from schemas.errors import InputError
from schemas.settings import Settings

if TYPE_CHECKING:
    from types import FrameType

console = Console(highlight=False)
LOOPBACK = "127.0.0.1"
ONLY_OWNER = 0o600
SHORT = "/tmp"  # noqa: S108 - a folder of our own in it; a socket's path has 97 characters at most
OF_THE_FRONT = {"port", "tls_address", "tls_certificate"}
OBJECT_STORE = 200_000_000  # bytes; requests and answers do not go through it


class Serve(ServeNrt):
    """Answer with vectors, and make them anew within a second of an event.

    Starts Ray on this machine, unless RAY_ADDRESS names a cluster, and serves until it is stopped.
    The live batch is loaded first; /readyz says when. `tasteprint replay` sends it events.
    """

    port: int = Field(default=8000, ge=1, le=65535)
    """Port to answer at, on this machine alone."""
    tls_address: str | None = Field(default=None, pattern=r"^[0-9A-Za-z.:*\[\]-]+:[0-9]+$")
    """HOST:PORT to answer at with TLS, also to other machines."""
    tls_certificate: str | None = None
    """File of the certificate and its key, one after the other, as HAProxy reads them."""

    def cli_cmd(self) -> None:
        """Serve until Ctrl-C."""
        from ray_apps.nrt_parts import TOKENS

        if (self.tls_address is None) != (self.tls_certificate is None):
            raise InputError("TLS needs both --tls-address and --tls-certificate")
        if self.tls_certificate is not None and not Path(self.tls_certificate).is_file():
            raise InputError(f"there is no certificate {self.tls_certificate}")
        if self.token_file is not None:
            Tokens.from_file(self.token_file)  # a fault is told before anything is started
        elif not os.environ.get(TOKENS):
            raise InputError("nobody could ask: give --token-file, or see `tasteprint tokens`")
        with TemporaryDirectory(prefix="tp-", dir=SHORT) as folder:  # of sockets
            _serve(self, folder)


def _set_up_front(settings: Serve, folder: str) -> None:
    """Tell Ray Serve and our HAProxy, through the environment, how the front is to be."""
    said = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # The service is short and asynchronous: one more thread for it costs half of the speed.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(sys.prefix) / "bin" / "tasteprint-haproxy"),
        # One that has died is noticed after the third of these, and begun again.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # Its sockets and files are this user's alone.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
    }
    # What listens at every address listens at this one too.
    host = LOOPBACK if settings.read_host in {"0.0.0.0", "::"} else settings.read_host  # noqa: S104 - it asks
    said[READS] = f"{host}:{settings.read_port}"
    if settings.tls_address is not None and settings.tls_certificate is not None:
        said[CERTIFICATE] = str(Path(settings.tls_certificate).resolve())
        said[ADDRESS] = settings.tls_address
    for name, value in said.items():
        os.environ.setdefault(name, value)


def _serve(settings: Serve, folder: str) -> None:
    if settings.read_port is None:  # the front's alone then
        settings = settings.model_copy(update={"read_port": _free_port(settings.read_host)})
    _set_up_front(settings, folder)
    import ray
    from ray import serve
    from ray.serve.schema import LoggingConfig

    from ray_apps.serve_nrt import application

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    quiet = LoggingConfig(enable_access_log=False, log_level="INFO")  # ids are in paths
    serve.start(http_options={"host": LOOPBACK, "port": settings.port}, logging_config=quiet)
    own = ServeNrt.model_validate(settings.model_dump(exclude=OF_THE_FRONT))
    where = f"http://{LOOPBACK}:{settings.port}"
    console.print(f"Starting at {where}; /readyz answers when the live batch is loaded.")
    serve.run(application(_absolute(own)), name="tasteprint")
    console.print("Serving. Ctrl-C stops after what has begun is finished.")
    _wait_for_signal()
    console.print("Stopping.")
    serve.shutdown()
    ray.shutdown()


def _free_port(host: str) -> int:
    """A port that nobody listens at now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))
        found: int = taken.getsockname()[1]
        return found


def _absolute(settings: ServeNrt) -> ServeNrt:
    """The settings with whole paths, for replicas that start in other folders."""
    named = ("lakehouse", "store", "event_log", "token_file", "metrics")
    said = {name: getattr(settings, name) for name in named}
    paths = {
        name: value if value is None or "://" in value else str(Path(value).resolve())
        for name, value in said.items()
    }
    return settings.model_copy(update=paths)


def _wait_for_signal() -> None:
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    stopped.wait()


class NewToken(Settings):
    """Make a token for someone who asks the service, and print it once.

    Its line goes to the token file, which holds hashes alone; without a file the line is printed.
    """

    name: CliPositionalArg[str] = Field(description="Who it is for, for your own records.")
    scope: list[Scope] = Field(default=["vectors:read"])
    """What its bearer may do; may be given several times."""
    token_file: str | None = None
    """File to add its line to; made if it is not there, for its owner alone."""

    def cli_cmd(self) -> None:
        """Print the token."""
        token, line = new_token(self.name, self.scope)
        if self.token_file is not None:
            _add_line(Path(self.token_file), line)
        else:
            console.print(f"line of a token file: {line}", markup=False, soft_wrap=True)
        console.print(token, markup=False, soft_wrap=True)


def _add_line(path: Path, line: str) -> None:
    """Add a line to a file that only its owner may read, as a whole."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, ONLY_OWNER), "w") as file:
        file.write(f"{before}{line}\n")
    aside.replace(path)
