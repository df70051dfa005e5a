"""The manifests, and the schemas that are published for them.

Kubernetes' own kinds have JSON schemas in the package ``kubernetes-validate``. KubeRay's and the
Spark operator's definitions are published as Rust types that are generated from them
(``kcr_ray_io`` and ``kcr_sparkoperator_k8s_io``, pinned in ``published/Cargo.toml``). To compile
those takes more than two minutes of CPU, to read them a tenth of a second: a struct becomes an
object that has these fields and no others, a field that is no ``Option`` is required, an enum is a
choice of words.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = Path(__file__).parent / "published"
KUBERNETES = "1.37"  # whose kinds
CRATES = {
    ("ray.io/v1", "RayCluster"): ("kcr_ray_io", "v1/rayclusters.rs"),
    ("ray.io/v1", "RayJob"): ("kcr_ray_io", "v1/rayjobs.rs"),
    ("ray.io/v1", "RayService"): ("kcr_ray_io", "v1/rayservices.rs"),
    ("sparkoperator.k8s.io/v1beta2", "SparkApplication"): (
        "kcr_sparkoperator_k8s_io",
        "v1beta2/sparkapplications.rs",
    ),
}
SCALARS: dict[str, dict[str, Any]] = {
    "String": {"type": "string"},
    "bool": {"type": "boolean"},
    "i32": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "i64": {"type": "integer"},
    "f64": {"type": "number"},
    "IntOrString": {"type": ["integer", "string"]},
    "Condition": {"type": "object"},  # of a status, which no manifest has
    "serde_json::Value": {},
}
ITEM = re.compile(r"^pub (struct|enum) (\w+) \{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
ATTRIBUTE = re.compile(r"    #\[serde\((?P<said>.*)\)\]")
UNDERSTOOD = re.compile(r'(default|skip_serializing_if = "Option::is_none"|rename = "[^"]*"|, )*')
FIELD = re.compile(r"    pub (?:r#)?(?P<name>\w+): (?P<type>[\w:<>, ]+),")
WORD = re.compile(r"    (?:r#)?(?P<name>\w+),")


class Manifest(NamedTuple):
    """One document of a file below ``kubernetes/``."""

    file: str
    document: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.document["kind"]

    @property
    def name(self) -> str:
        metadata = self.document["metadata"]
        return metadata.get("name") or metadata["generateName"]

    @property
    def spec(self) -> dict[str, Any]:
        return self.document["spec"]


@pytest.fixture(scope="session")
def manifests() -> list[Manifest]:
    """Every document that ``kubectl`` is given; that is not the kustomization."""
    return [
        Manifest(str(path.relative_to(ROOT)), document)
        for path in sorted((ROOT / "kubernetes").rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]


@pytest.fixture(scope="session")
def custom_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """JSON schemas of KubeRay's and the Spark operator's kinds, by version and kind."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("Cargo, which fetches the published types, is not installed")
    asked = subprocess.run(
        [cargo, "metadata", "--quiet", "--format-version", "1"],
        cwd=PUBLISHED,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        pytest.skip(f"Cargo cannot fetch the published types: {asked.stderr.partition(chr(10))[0]}")
    packages = {one["name"]: one["manifest_path"] for one in json.loads(asked.stdout)["packages"]}
    return {
        which: of_resource(which, (Path(packages[crate]).parent / "src" / source).read_text())
        for which, (crate, source) in CRATES.items()
    }


def of_resource(which: tuple[str, str], source: str) -> dict[str, Any]:
    """The schema of a whole manifest, from the file that has its types."""
    version, kind = which
    return {
        "$defs": {name: schema_of(sort, body) for sort, name, body in ITEM.findall(source)},
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": {"type": "object"},  # the same for all kinds: see discrepancies
            "spec": {"$ref": f"#/$defs/{kind}Spec"},
        },
    }


def schema_of(sort: str, body: str) -> dict[str, Any]:
    """The schema of one struct or enum; a line that is not understood is an error."""
    renamed, names, required = None, {}, []
    for line in body.splitlines():
        if not line.strip() or line.strip().startswith("///"):
            continue
        if said := ATTRIBUTE.fullmatch(line):
            assert UNDERSTOOD.fullmatch(said["said"]), f"what does this line say? {line}"
            found = re.search(r'rename = "([^"]*)"', said["said"])
            renamed = found and found[1]
            continue
        told = (FIELD if sort == "struct" else WORD).fullmatch(line)
        assert told, f"what does this line say? {line}"
        name, renamed = renamed or told["name"], None
        if sort == "enum":
            names[name] = {}
            continue
        inner = re.fullmatch(r"Option<(.*)>", told["type"])
        names[name] = type_of(inner[1] if inner else told["type"])
        required += [] if inner else [name]
    if sort == "enum":
        return {"enum": list(names)}
    rest = {"required": required, "additionalProperties": False}
    return {"type": "object", "properties": names, **rest}


def type_of(rust: str) -> dict[str, Any]:
    """The schema of a field's type."""
    if inner := re.fullmatch(r"Vec<(.*)>", rust):
        return {"type": "array", "items": type_of(inner[1])}
    if inner := re.fullmatch(r"BTreeMap<String, (.*)>", rust):
        return {"type": "object", "additionalProperties": type_of(inner[1])}
    return SCALARS.get(rust) or ({} if rust in SCALARS else {"$ref": f"#/$defs/{rust}"})


@pytest.fixture(scope="session")
def discrepancies(custom_schemas):
    """A function that says what is wrong with a document, a line for each discrepancy."""
    checks = {
        which: jsonschema.Draft202012Validator(schema) for which, schema in custom_schemas.items()
    }

    def said(document: dict[str, Any]) -> list[str]:
        which = document["apiVersion"], document["kind"]
        if which not in checks:
            return list(wrong_with_own(document))
        found = [
            f"{error.json_path}: {error.message}" for error in checks[which].iter_errors(document)
        ]
        shell = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
        found += wrong_with_own(shell)
        for template in pod_templates(document):
            shell = {
                "apiVersion": "v1",
                "kind": "PodTemplate",
                "metadata": {},
                "template": template,
            }
            found += wrong_with_own(shell)
        return found

    return said


def wrong_with_own(document: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a document of a kind of Kubernetes' own."""
    validate = pytest.importorskip("kubernetes_validate", reason="it has Kubernetes' own schemas")
    try:
        validate.validate(document, KUBERNETES, strict=True)
    except (jsonschema.ValidationError, validate.ValidationError) as error:
        yield f"{error.json_path}: {error.message}"


def pod_templates(part: Any) -> Iterator[dict[str, Any]]:
    """Every template of a pod in a document, at any depth."""
    if isinstance(part, list):
        for one in part:
            yield from pod_templates(one)
    elif isinstance(part, dict):
        if "containers" in part.get("spec", {}):
            yield part
        else:
            for one in part.values():
                yield from pod_templates(one)
