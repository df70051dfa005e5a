from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
FILES = ("cluster.yaml", "cluster.local.yaml")
SAME = (
    "cluster_name",
    "file_mounts",
    "setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "idle_timeout_minutes",
)


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def starts(config: dict) -> list[str]:
    lines = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [line for line in lines if "ray start" in line]


@pytest.mark.parametrize("name", FILES)
def test_rays_own_validation_accepts_it(name):
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_rays_own_validation_refuses_what_it_does_not_know(name):
    with pytest.raises(ValidationError):
        validate_config(prepare_config(read(name)) | {"max_workers": "many"})


@pytest.mark.parametrize("field", SAME)
def test_both_say_the_same_of_what_is_not_the_machines(field):
    one, other = (read(name) for name in FILES)
    assert one[field] == other[field]


@pytest.mark.parametrize("name", FILES)
def test_ray_is_never_started_without_tokens(name):
    assert len(starts(read(name))) == 2
    assert all(line.startswith("export RAY_AUTH_MODE=token;") for line in starts(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_the_dashboard_answers_on_loopback_alone(name):
    head, worker = starts(read(name))
    assert "--dashboard-host=127.0.0.1" in head
    assert "dashboard" not in worker


@pytest.mark.parametrize("name", FILES)
def test_hosts_are_installed_with_the_pins(name):
    installs = [line for line in read(name)["setup_commands"] if " install " in line]
    ours = [line for line in installs if "apt-get" not in line]
    assert len(ours) == 2
    assert all("--constraint ~/tasteprint/wheel/constraints.txt" in line for line in ours)


@pytest.mark.parametrize("name", FILES)
def test_no_secret_is_in_the_file(name):
    mounts = read(name)["file_mounts"]
    assert ("~/.ray/auth_token", "~/.ray/auth_token") in mounts.items()
    assert "RAY_AUTH_TOKEN=" not in (ROOT / name).read_text()


def test_groups_of_the_cloud_fit_below_its_limit():
    config = prepare_config(read("cluster.yaml"))
    workers = {
        name: group for name, group in config["available_node_types"].items() if name != "head"
    }
    assert set(workers) == {"cpu", "gpu"}
    assert sum(group["max_workers"] for group in workers.values()) == config["max_workers"]
    assert all(group["min_workers"] == 0 for group in workers.values())
    assert [group["resources"].get("GPU", 0) for group in workers.values()] == [0, 1]


def test_workers_of_the_cloud_do_not_have_the_heads_rights():
    groups = read("cluster.yaml")["available_node_types"]
    rights = {name: group["node_config"]["IamInstanceProfile"] for name, group in groups.items()}
    assert rights["cpu"] == rights["gpu"] != rights["head"]


def test_every_machine_of_ones_own_is_used():
    config = read("cluster.local.yaml")
    assert config["max_workers"] == len(config["provider"]["worker_ips"])


def test_the_firewall_begins_with_the_net_of_the_configuration():
    head = read("cluster.local.yaml")["provider"]["head_ip"]
    net = head.rpartition(".")[0] + ".0/24"
    assert f"define private = {net}" in (ROOT / "cluster/firewall.nft").read_text()
