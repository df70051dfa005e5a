import http.server
import stat
import threading

import pytest
import yaml

from cluster.hosts import Host
from cluster.launcher import STARTS, Launcher, free_port, status


@pytest.fixture
def launcher(tmp_path):
    found = [Host(f"tp-{number}", number, tmp_path, tmp_path / "key") for number in (11, 12, 13)]
    return Launcher(tmp_path / "launcher", found)


def test_the_configuration_is_the_file_with_the_hosts_filled_in(launcher):
    config = yaml.safe_load(launcher.config.read_text())
    head, *workers = (host.address for host in launcher.hosts)
    assert config["provider"] == {"type": "local", "head_ip": head, "worker_ips": workers}
    assert config["file_mounts"] == {"~/.ray/auth_token": str(launcher.token)}
    for name in STARTS:
        assert "RAY_AUTH_MODE=token" in config[name][-1]
        assert "--num-cpus=2" in config[name][-1]


def test_only_the_owner_reads_the_token(launcher):
    assert stat.S_IMODE(launcher.token.stat().st_mode) == 0o600
    assert launcher.token.read_text() not in launcher.config.read_text()
    assert len(launcher.token.read_text()) == 64


class Guarded(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers["Authorization"] == "Bearer right" else 401)
        self.end_headers()

    def log_message(self, *_args):
        pass


def test_a_status_is_told_whoever_asks():
    with http.server.HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert (status(url), status(url, "wrong"), status(url, "right")) == (401, 401, 200)
        server.shutdown()
    assert status(f"http://127.0.0.1:{free_port()}/") == 0
