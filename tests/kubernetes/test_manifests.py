"""What no schema can say of the manifests: that they fit this repository, and one another."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from schemas.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "kubernetes"
IN_IMAGE = "/opt/tasteprint/"
SECRET = {"name": "tasteprint-ray-token", "key": "auth_token"}
# What spark.conf says for one machine, and a cluster says otherwise or elsewhere.
OF_ONE_MACHINE = {
    "spark.jars.packages",  # in the image
    "spark.driver.memory",
    "spark.driver.bindAddress",
    "spark.driver.host",
    "spark.sql.shuffle.partitions",
    "spark.databricks.delta.snapshotPartitions",
}


@pytest.fixture
def of_kind(manifests):
    """A function that gives the documents of some kinds."""
    return lambda *kinds: [one for one in manifests if one.kind in kinds]


@pytest.fixture
def ray_clusters(of_kind):
    """Every description of a Ray cluster, by the name of what it belongs to."""
    described = {one.name: one.spec for one in of_kind("RayCluster")}
    described |= {
        one.name: one.spec["rayClusterSpec"]
        for one in of_kind("RayJob")
        if "rayClusterSpec" in one.spec
    }
    return described | {one.name: one.spec["rayClusterConfig"] for one in of_kind("RayService")}


@pytest.fixture
def pods(manifests):
    """Every pod: labels, the pod's own security, and its containers, wherever it is described."""
    return [pod for one in manifests for pod in pods_in(one.document)]


def pods_in(part):
    if isinstance(part, list):
        return [pod for one in part for pod in pods_in(one)]
    if not isinstance(part, dict):
        return []
    if "containers" in part.get("spec", {}):
        spec = part["spec"]
        labels = part["metadata"]["labels"]
        return [(labels, spec["securityContext"], spec["containers"], spec["volumes"])]
    if part.get("kind") == "SparkApplication":
        spec = part["spec"]
        return [
            (side["labels"], side["podSecurityContext"], [side], spec["volumes"])
            for side in (spec["driver"], spec["executor"])
        ]
    return [pod for one in part.values() for pod in pods_in(one)]


def pinned(package):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{package}=="))


def spark_conf():
    lines = (ROOT / "spark.conf").read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip() and line[0] != "#")


def settings_of(module):
    """The one class of settings that an entry point has."""
    found = [
        thing
        for thing in vars(import_module(module)).values()
        if isinstance(thing, type) and issubclass(thing, Settings) and thing.__module__ == module
    ]
    assert len(found) == 1
    return found[0]


def commands(manifests):
    """What each job runs: the manifest, the module and its arguments."""
    for one in manifests:
        if one.kind == "RayJob":
            python, script, *arguments = shlex.split(one.spec["entrypoint"])
            assert python == "python"
        elif one.kind == "SparkApplication":
            script = one.spec["mainApplicationFile"].removeprefix("local://")
            arguments = one.spec["arguments"]
        elif one.kind == "Job":
            (container,) = one.spec["template"]["spec"]["containers"]
            *_, module = container["command"]
            script = f"{IN_IMAGE}{module.replace('.', '/')}.py"
            arguments = container["args"]
        else:
            continue
        assert script.startswith(IN_IMAGE)
        yield one, script.removeprefix(IN_IMAGE), [str(word) for word in arguments]


def test_every_job_runs_an_entry_point_of_this_repository(manifests):
    run = {script for _, script, _ in commands(manifests)}
    assert run == {
        "jobs/ingest.py",
        "jobs/build_track_vectors.py",
        "jobs/build_features.py",
        "ray_apps/train_user_model.py",
        "ray_apps/batch_embed.py",
        "evaluation/audit.py",
    }
    assert all((ROOT / script).is_file() for script in run)


def test_a_job_has_the_name_of_what_it_runs(manifests):
    for one, script, _ in commands(manifests):
        assert one.file == f"kubernetes/jobs/{Path(script).stem}.yaml"
        assert one.name == f"{Path(script).stem.replace('_', '-')}-"


def test_the_settings_of_each_entry_point_know_its_arguments(manifests, monkeypatch):
    (settings,) = [one for one in manifests if one.kind == "ConfigMap"]
    for name, value in settings.document["data"].items():
        monkeypatch.setenv(name, value)
    for _, script, arguments in commands(manifests):
        module = script.removesuffix(".py").replace("/", ".")
        parsed = settings_of(module).parse(arguments)
        assert parsed.lakehouse == settings.document["data"]["TASTEPRINT_LAKEHOUSE"]


def test_an_argument_that_an_entry_point_does_not_know_is_refused(manifests, capsys):
    _, script, arguments = next(commands(manifests))
    with pytest.raises(SystemExit):
        settings_of(script.removesuffix(".py").replace("/", ".")).parse([*arguments, "--no-such"])
    assert "no-such" in capsys.readouterr().err


def test_spark_jobs_have_the_settings_of_spark_conf(of_kind):
    ours = spark_conf()
    shared = {name: value for name, value in ours.items() if name not in OF_ONE_MACHINE}
    assert set(ours) >= OF_ONE_MACHINE
    for one in of_kind("SparkApplication"):
        given = one.spec["sparkConf"]
        assert {name: given.get(name) for name in shared} == shared
        assert one.spec["sparkVersion"] == pinned("pyspark")


def test_spark_jobs_differ_in_nothing_but_what_they_run(of_kind):
    settings = [one.spec["sparkConf"] for one in of_kind("SparkApplication")]
    assert len(settings) == 3
    assert all(one == settings[0] for one in settings)


def test_the_ray_version_is_the_pinned_one(ray_clusters):
    assert {one["rayVersion"] for one in ray_clusters.values()} == {pinned("ray")}


def test_every_ray_cluster_asks_for_the_token(ray_clusters):
    for one in ray_clusters.values():
        assert one["authOptions"] == {"mode": "token", "secretName": SECRET["name"]}


def test_every_submitter_has_the_token_from_the_secret(of_kind):
    for one in of_kind("RayJob"):
        (container,) = one.spec["submitterPodTemplate"]["spec"]["containers"]
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
        told = {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": SECRET}}
        assert told in container["env"]


def test_ray_takes_the_runtime_environments(of_kind):
    from ray.runtime_env import RuntimeEnv

    for one in of_kind("RayJob"):
        told = yaml.safe_load(one.spec["runtimeEnvYAML"])
        assert RuntimeEnv(**told)["env_vars"] == told["env_vars"]


def test_no_file_holds_a_secret(manifests):
    assert not [one.name for one in manifests if one.kind == "Secret"]
    for one in manifests:
        assert not re.search(r"AKIA|SECRET_ACCESS|aws_secret|password", str(one.document))


def test_a_job_on_a_standing_cluster_names_one_that_there_is(of_kind):
    standing = {one.name for one in of_kind("RayCluster")}
    selected = [one for one in of_kind("RayJob") if "clusterSelector" in one.spec]
    assert selected
    for one in selected:
        assert one.spec["clusterSelector"]["ray.io/cluster"] in standing
        # KubeRay deletes a job's cluster before it retries, and at the end if it is told so.
        assert one.spec["backoffLimit"] == 0
        assert "shutdownAfterJobFinishes" not in one.spec


def test_a_cluster_of_a_jobs_own_goes_when_the_job_has_ended(of_kind):
    for one in of_kind("RayJob"):
        if "rayClusterSpec" in one.spec:
            assert one.spec["shutdownAfterJobFinishes"]
            assert one.spec["ttlSecondsAfterFinished"] > 0


def test_gpu_groups_ask_for_gpus_and_are_let_onto_their_nodes(ray_clusters):
    groups = [group for one in ray_clusters.values() for group in one["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        asks = "nvidia.com/gpu" in container["resources"]["limits"]
        assert asks == (group["groupName"] == "gpu")
        assert asks == any(one["key"] == "nvidia.com/gpu" for one in pod.get("tolerations", []))
    assert any(group["groupName"] == "gpu" for group in groups)


def test_as_many_gpus_can_be_had_as_training_asks_for(of_kind):
    (training,) = [one for one in of_kind("RayJob") if "train" in one.name]
    words = shlex.split(training.spec["entrypoint"])
    (group,) = training.spec["rayClusterSpec"]["workerGroupSpecs"]
    assert "--gpus" in words
    assert int(words[words.index("--workers") + 1]) <= group["maxReplicas"]


def test_autoscaling_has_bounds_and_shared_memory_fits(ray_clusters):
    for one in ray_clusters.values():
        assert one["enableInTreeAutoscaling"]
        for group in [one["headGroupSpec"], *one["workerGroupSpecs"]]:
            (container,) = group["template"]["spec"]["containers"]
            memory = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
            assert int(group["rayStartParams"]["object-store-memory"]) <= memory / 2
        for group in one["workerGroupSpecs"]:
            assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_dashboard_is_not_exposed(ray_clusters, manifests):
    assert {one["headGroupSpec"]["serviceType"] for one in ray_clusters.values()} == {"ClusterIP"}
    assert not {one.kind for one in manifests} & {"Ingress", "Service", "Route", "Gateway"}


def test_nobody_comes_in_but_whom_a_policy_names(of_kind, pods):
    policies = {one.name: one.spec for one in of_kind("NetworkPolicy")}
    assert policies["nobody-comes-in"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    labels = [set(one[0].items()) for one in pods]
    for name, policy in policies.items():
        selected = set(policy["podSelector"].get("matchLabels", {}).items())
        assert any(selected <= one for one in labels), f"{name} selects no pod"
    ray = next(one for one in policies["ray"]["ingress"] if "ports" in one)
    assert [port["port"] for port in ray["ports"]] == [8265]


def test_every_pod_is_as_small_as_it_can_be(pods):
    assert len(pods) > 12
    for _, pod, containers, volumes in pods:
        assert pod["runAsNonRoot"]
        assert pod["runAsUser"] == 1000
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        writable = {one["name"] for one in volumes}
        for container in containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            assert mounts["tmp"] == "/tmp"  # noqa: S108 - of the pod
            assert set(mounts) <= writable


def test_every_ray_container_is_asked_whether_it_lives(ray_clusters):
    for name, one in ray_clusters.items():
        for group in [one["headGroupSpec"], *one["workerGroupSpecs"]]:
            (container,) = group["template"]["spec"]["containers"]
            # The head's answer speaks of the whole cluster's memory (GCS) as well.
            path = "/api/local_raylet_healthz" if "groupName" in group else "/api/healthz"
            assert container["livenessProbe"]["httpGet"] == {"path": path, "port": 52365}
            left_to_kuberay = group.get("groupName") == "serve"
            assert ("readinessProbe" in container) != left_to_kuberay, name


def test_names_that_are_used_are_defined(manifests):
    names = {(one.kind, one.name) for one in manifests}
    for one in manifests:
        text = yaml.safe_dump(one.document)
        for account in re.findall(r"serviceAccount(?:Name)?: (\S+)", text):
            assert ("ServiceAccount", account) in names
        if "configMapRef" in text:
            assert ("ConfigMap", "tasteprint-settings") in names
        if one.kind != "Namespace":
            assert one.document["metadata"]["namespace"] == "tasteprint"


def test_all_pods_have_one_image_whose_tag_stays_what_it_is():
    found = [
        line
        for path in FOLDER.rglob("*.yaml")
        for line in re.findall(r"^ *image: (\S+)(.*)$", path.read_text(), re.MULTILINE)
    ]
    (image,) = {image for image, _ in found}
    assert re.fullmatch(r"[^:\s]+(:\d+/[^:\s]+)?(:[\w.-]+|@sha256:\w+)", image)
    assert not image.endswith(":latest")
    assert all("EDIT" in rest for _, rest in found)


def test_what_stays_is_in_the_kustomization_and_what_is_run_is_not():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert there - set(listed) == {"ray_service.yaml"}
    assert set(listed) <= there


def test_the_serving_app_is_named_as_one_that_is_not_here(of_kind):
    (service,) = of_kind("RayService")
    (app,) = yaml.safe_load(service.spec["serveConfigV2"])["applications"]
    module = app["import_path"].partition(":")[0]
    assert not (ROOT / f"{module.replace('.', '/')}.py").exists()
    assert "PRECONDITION" in (ROOT / service.file).read_text()


def test_the_image_is_made_of_the_pins_and_of_spark_conf():
    said = (FOLDER / "Dockerfile").read_text()
    assert "--constraint constraints.txt" in said
    assert "kubernetes/add_jars.sh" in said
    assert "USER 1000:1000" in said
    assert re.findall(r"^WORKDIR (.*)$", said, re.MULTILINE)[-1] == "/tmp"  # noqa: S108 - writable
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", said, re.MULTILINE)
    kept = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in kept
