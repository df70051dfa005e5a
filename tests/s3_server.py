"""An S3 protocol server on loopback: moto's, with writes one at a time.

moto looks whether a condition holds and then writes, so that of two requests at once both may win;
a store that is worth its name lets one win. A lock around all requests that write makes it so.

Run as a script it prints the port that it was given, and serves until nobody holds its input open.
"""

import sys
from threading import Lock, Thread

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

WRITES = {"PUT", "POST", "DELETE"}


class OneWriterAtATime:
    """WSGI middleware."""

    def __init__(self, app) -> None:
        self._app, self._lock = app, Lock()

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] not in WRITES:
            return self._app(environ, start_response)
        with self._lock:
            return list(self._app(environ, start_response))


class Silent(WSGIRequestHandler):
    """Tells nobody of each request, and keeps connections open, as a store does."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_) -> None:
        """Nothing."""


def main() -> None:
    app = OneWriterAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
