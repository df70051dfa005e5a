"""Every manifest fits the schemas that are published for its kind."""

import copy

import pytest


@pytest.fixture
def broken(manifests):
    """A function that gives a document of a kind with one value changed, or taken out (None)."""

    def change(kind, path, value):
        document = copy.deepcopy(next(one.document for one in manifests if one.kind == kind))
        *above, last = path
        part = document
        for step in above:
            part = part[step]
        if value is None:
            del part[last]
        else:
            part[last] = value
        return document

    return change


def test_every_manifest_fits_what_is_published_for_its_kind(manifests, discrepancies):
    wrong = {
        f"{one.file} {one.name}": found
        for one in manifests
        if (found := discrepancies(one.document))
    }
    assert wrong == {}


def test_the_folder_has_every_kind_that_the_docs_promise(manifests):
    kinds = {one.kind for one in manifests}
    assert kinds >= {"RayCluster", "RayJob", "RayService", "SparkApplication", "NetworkPolicy"}


HEAD = ("spec", "headGroupSpec", "template", "spec")


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("RayCluster", ("spec", "rayVersoin"), "2.60.0", "rayVersoin"),
        ("RayCluster", ("spec", "rayVersion"), 2.6, "2.6 is not of type 'string'"),
        ("RayCluster", ("spec", "authOptions", "mode"), "tokn", "'tokn' is not one of"),
        ("RayCluster", ("spec", "headGroupSpec"), None, "'headGroupSpec' is a required property"),
        ("RayCluster", ("spec", "workerGroupSpecs", 0, "maxReplicas"), "8", "'8' is not of type"),
        (
            "RayCluster",
            (*HEAD, "containers", 0, "ports", 0, "containerPort"),
            None,
            "containerPort",
        ),
        ("RayCluster", ("metadata", "lables"), {}, "lables"),
        ("RayJob", ("spec", "backoffLimit"), "two", "'two' is not of type 'integer'"),
        ("RayJob", ("spec", "clusterSelectors"), {}, "clusterSelectors"),
        ("RayService", ("spec", "rayClusterConfig"), None, "'rayClusterConfig' is a required"),
        ("SparkApplication", ("spec", "restartPolicy", "type"), "Sometimes", "'Sometimes' is not"),
        ("SparkApplication", ("spec", "driver", "cores"), "2", "'2' is not of type 'integer'"),
        ("SparkApplication", ("spec", "driver", "readOnly"), True, "readOnly"),
        ("SparkApplication", ("spec", "sparkVersion"), None, "'sparkVersion' is a required"),
        ("NetworkPolicy", ("spec", "policyType"), ["Ingress"], "policyType"),
        ("ConfigMap", ("data", "AWS_REGION"), 1, "1 is not of type"),
        ("Job", ("spec", "backoffLimit"), "none", "'none' is not of type"),
    ],
)
def test_a_slip_is_refused_and_named(broken, discrepancies, kind, path, value, said):
    found = discrepancies(broken(kind, path, value))
    assert any(said in line for line in found), found
