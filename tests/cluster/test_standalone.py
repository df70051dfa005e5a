import stat

from cluster.hosts import Host
from cluster.standalone import PORT, Standalone


def test_the_secret_is_in_a_file_that_only_its_owner_reads(tmp_path):
    head = Host("tp-head", 11, tmp_path, tmp_path / "key")
    cluster = Standalone(tmp_path / "spark", [head])
    shared = cluster.settings / "spark-defaults.conf"
    told = dict(
        line.split()
        for line in shared.read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert stat.S_IMODE(shared.stat().st_mode) == 0o600
    assert len(told["spark.authenticate.secret"]) == 64
    assert told["spark.authenticate"] == "true"
    assert told["spark.master.rest.enabled"] == "false"
    assert cluster.master == f"spark://{head.address}:{PORT}"
