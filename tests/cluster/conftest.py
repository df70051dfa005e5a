import pytest

from cluster.hosts import hosts
from cluster.net import why_not


@pytest.fixture(scope="session")
def machine(request):
    """This machine, where hosts may be booted on it and somebody has asked for it."""
    if request.config.option.markexpr != "cluster":
        pytest.skip("boots hosts as namespaces: make cluster-test")
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def two_hosts(machine, tmp_path_factory):  # noqa: ARG001
    with hosts(tmp_path_factory.mktemp("h"), ["one", "two"]) as found:
        yield found
